"""Synthetic studies whose networks were attacked, as `_fake_study` makes them, with planted robust accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _fake_study import HALF, TWICE, UNIFORM, fake_study

N = 200
SLOWER = replace(HALF, speed=0.85)  # half as fast would not reach the target at all
STANDING = {"uniform": 80, "plb": 60, "lb": 100}  # of N, after PGD; each seed takes or gives some


def planted(sampler: str, seed: int, **changes: Any) -> dict[str, Any]:
    """One measurement as a result holds it."""
    worst = STANDING[sampler] + 2 * (seed % 5 - 2)
    found = {
        "eps": 8 / 255,
        "examples": N,
        "of": 360,
        "subset": "abc",
        "clean": 180,
        "standing": "1" * worst + "0" * (N - worst),
        "attacks": {"fgsm": worst + 10, "pgd": worst},
        "seconds": 1.0,
        "flags": [],
    }
    return found | changes


def study(folder: Path, plant: Callable[[str, int], list[dict[str, Any]]], **settings: Any) -> Path:
    """`plant` says what was measured of a sampler under a seed."""
    fake_study(folder, arms=(UNIFORM, TWICE, SLOWER), **settings)
    for path in folder.glob("runs/*/result.json"):
        run = json.loads((path.parent / "settings.json").read_text())
        result = json.loads(path.read_text())
        result["robust"] = plant(run["sampler"]["label"], run["seed"])
        path.write_text(json.dumps(result))
    return folder
