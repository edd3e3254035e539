"""Small runs for tests: settings as `bench` would make them, on a fraction of the digits."""

from __future__ import annotations

from pathlib import Path

from robuststream.config import RunSettings
from robuststream.records import without_time
from robuststream.studies import load_study
from robuststream.study.plan import plan

__all__ = ["SMALL", "settings", "without_time"]

SMALL = ("seeds=1", "recipe.train_size=200", "recipe.evaluations=4", "budget=3")


def settings(sampler: str = "uniform", scenario: str = "clean", *overrides: str) -> RunSettings:
    """One run of the default study with these overrides, small unless they say otherwise."""
    study = load_study("noisy-labels", [f"samplers={sampler}", f"scenarios={scenario}", *SMALL, *overrides])
    return plan(study, Path("unused"))[0].settings
