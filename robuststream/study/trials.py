"""Trials: what may be tried of a sampler's settings, and the study that tries it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from robuststream import registry
from robuststream.config import Plugin, Study
from robuststream.contracts import Sampler

FIRST_SEED = 1000
"""Seeds of trials begin here, so that no run of the study that is reported has chosen its own settings."""

Suggest = Callable[[Plugin, int], dict[str, Any]]
"""(arm, number of the trial) -> values of the hyperparameters in its space."""


def space(arm: Plugin) -> dict[str, tuple[Any, ...]]:
    """What may be tried of an arm: its sampler's declared spaces, less what the study fixes."""
    fields = registry.load("samplers", arm.kind, Sampler).fields()
    return {
        field.name: field.metadata["search"] for field in fields if "search" in field.metadata and field.name not in arm.given
    }


def at_random(study: Study) -> Suggest:
    """Independent uniform draws from the space, on a log scale where it spans a decade; the same for the same study."""

    def suggest(arm: Plugin, trial: int) -> dict[str, Any]:
        dice = random.Random(f"{study.name}/{arm.label}/{trial}")
        return {name: _draw(dice, values) for name, values in space(arm).items()}

    return suggest


def _draw(dice: random.Random, values: tuple[Any, ...]) -> Any:
    if not is_range(values):
        return dice.choice(values)
    low, high = values
    drawn = math.exp(dice.uniform(math.log(low), math.log(high))) if is_logarithmic(low, high) else dice.uniform(low, high)
    return round(drawn) if isinstance(low, int) and isinstance(high, int) else float(f"{drawn:.3g}")


def is_range(values: tuple[Any, ...]) -> bool:
    """Two numbers are lowest and highest; anything else is a list of values."""
    return len(values) == 2 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def is_logarithmic(low: float, high: float) -> bool:
    return low > 0 and high / low >= 10


def trial_study(study: Study, trials: int, seeds: int, suggest: Suggest) -> Study:
    """A study whose arms are trials. Number 0 of each sampler is as the study gives it; the baseline has no other."""
    arms = []
    for arm in study.samplers:
        for trial in range(trials if space(arm) else 1):
            tried = suggest(arm, trial) if trial else {}
            arms.append(arm.model_copy(update={"label": f"{arm.label}#{trial}", "given": {**arm.given, **tried}}))
    update = {"name": f"{study.name}-tuning", "samplers": arms, "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds))}
    return study.model_copy(update=update)
