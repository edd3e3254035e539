"""Small runs for tests: settings as `bench` would make them, on a fraction of the digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robuststream.config import RunSettings
from robuststream.studies import load_study
from robuststream.study.plan import plan

SMALL = ("seeds=1", "recipe.train_size=200", "recipe.evaluations=4", "budget=3")


def settings(sampler: str = "uniform", scenario: str = "clean", *overrides: str) -> RunSettings:
    """One run of the default study with these overrides, small unless they say otherwise."""
    study = load_study("noisy-labels", [f"samplers={sampler}", f"scenarios={scenario}", *SMALL, *overrides])
    return plan(study, Path("unused"))[0].settings


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    """A result or record without what a clock or a date wrote: the rest must repeat bit for bit."""
    return {key: value for key, value in result.items() if key not in ("seconds", "provenance")}
