"""Targets on a ladder and the cost of reaching them (rule 5). Runs that miss are censored, never dropped."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from robuststream.evidence.intervals import Interval, Ratio, paired_ratio, sign_flip_p, wilson
from robuststream.records import RunRecords

SHARES = {"T90": 0.90, "T95": 0.95, "T98": 0.98, "T100": 1.00}
"""Rungs: share of uniform's gain over chance."""

CURRENCIES = {"step": "steps", "backwards": "backwards", "flops": "charged FLOPs", "seconds": "seconds"}
"""What a cost is counted in: key of an evaluation -> its name in print."""

HEADLINE = ("T95", "flops")
"""The speed-up of the first table."""

_ROUNDING = 1e-9  # chance + 1.00 * (T100 - chance) is not T100 to the last bit

Evaluation = Mapping[str, Any]

Costs = dict[int, float | None]
"""Seed -> cost to a target; None where the run missed."""

Key = tuple[str, str]
"""(rung, currency)."""

CostsByRung = dict[Key, Costs]

Timed = tuple[Sequence[RunRecords], CostsByRung]
"""Runs of one arm, and what they paid."""


@dataclass(frozen=True)
class Ladder:
    """Validation accuracies, in [0, 1], that runs of one scenario are timed to."""

    chance: float  # 1 / K
    top: float  # T100: median over seeds of uniform's best validation accuracy
    targets: dict[str, float]  # rung -> accuracy


@dataclass(frozen=True)
class Reach:
    """How many of the finished runs reached a target, with Wilson's interval of the share."""

    reached: int
    runs: int
    interval: Interval

    @property
    def enough(self) -> bool:
        """At least half: below, the runs that made it say more about luck than about cost."""
        return self.runs > 0 and 2 * self.reached >= self.runs


@dataclass(frozen=True)
class SpeedUp:
    """Uniform's cost to a target over an arm's, on the seeds where both reached; `ratio` None where none may be printed."""

    target: str
    currency: str
    reach: Reach
    ratio: Ratio | None
    p: float | None  # sign-flip, not yet adjusted for the number of arms


def number(value: Any) -> float | None:
    """A figure of a record, or None where it has no meaning (null, or the NaN of a run that diverged)."""
    return None if value is None or value != value else float(value)


def best_validation(run: RunRecords) -> float | None:
    """The highest validation accuracy among a run's evaluations."""
    found = [number(evaluation["validation_accuracy"]) for evaluation in run.evaluations]
    return max((value for value in found if value is not None), default=None)


def ladder(uniform: Sequence[RunRecords], num_classes: int) -> Ladder | None:
    """The targets of one scenario from uniform's finished runs in it; None where it has none."""
    tops = [top for run in uniform if (top := best_validation(run)) is not None]
    if not tops:
        return None
    chance, top = 1 / num_classes, statistics.median(tops)
    return Ladder(chance, top, {rung: chance + share * (top - chance) for rung, share in SHARES.items()})


def cost_to_target(evaluations: Sequence[Evaluation], target: float, currency: str) -> float | None:
    """Cost at the first of two consecutive evaluations at or above `target`; None where the run misses.

    An evaluation before anything was spent reaches nothing: its cost has no ratio to another.
    """
    return _costs_to(evaluations, {"": target}, [currency])["", currency]


def _costs_to(
    evaluations: Sequence[Evaluation], targets: Mapping[str, float], currencies: Sequence[str]
) -> dict[Key, float | None]:
    """`cost_to_target` for every target in every currency. Costs never fall, so what cost nothing comes first."""
    reached = [number(evaluation["validation_accuracy"]) or 0.0 for evaluation in evaluations]
    places: dict[int, list[int]] = {}  # by how many evaluations cost nothing, for the currencies mostly agree on that
    found: dict[Key, float | None] = {}
    for currency in currencies:
        paid = [evaluation[currency] for evaluation in evaluations]
        free = bisect_right(paid, 0.0)
        if free not in places:
            pairs = map(min, reached[free:], reached[free + 1 :])
            held = list(accumulate(pairs, max))  # the most that two in a row have reached so far
            places[free] = [free + bisect_left(held, target - _ROUNDING) for target in targets.values()]
        for rung, place in zip(targets, places[free], strict=True):
            found[rung, currency] = float(paid[place]) if place < len(paid) - 1 else None
    return found


def reach(costs: Costs) -> Reach:
    """Seed -> cost (None: missed) to the share that reached."""
    reached = sum(cost is not None for cost in costs.values())
    return Reach(reached, len(costs), wilson(reached, len(costs)))


def costs_by_seed(runs: Sequence[RunRecords], target: float, currency: str) -> Costs:
    return {run.seed: cost_to_target(run.evaluations, target, currency) for run in runs}


def costs_by_rung(runs: Sequence[RunRecords], rungs: Ladder) -> CostsByRung:
    """Of the same runs to every rung in every currency, and in shares of the budget ("spent")."""
    currencies = (*CURRENCIES, "spent")
    found: CostsByRung = {(rung, currency): {} for rung in rungs.targets for currency in currencies}
    for run in runs:
        for key, cost in _costs_to(run.evaluations, rungs.targets, currencies).items():
            found[key][run.seed] = cost
    return found


def speed_up(arm: Sequence[RunRecords], uniform: Sequence[RunRecords], rungs: Ladder, rung: str, currency: str) -> SpeedUp:
    """Speed-up of one arm over uniform in one scenario, to one rung, in one currency; see `speed_up_of`."""
    own, base = (costs_by_seed(runs, rungs.targets[rung], currency) for runs in (arm, uniform))
    return speed_up_of(own, base, rung, currency)


def speed_up_of(own: Costs, base: Costs, rung: str, currency: str) -> SpeedUp:
    """Of an arm over uniform by their costs to one rung.

    Both must be reached in at least half of their own runs (rule 5); the ratio is taken over the seeds where both reached.
    """
    arm_reach = reach(own)
    if not (arm_reach.enough and reach(base).enough):
        return SpeedUp(rung, currency, arm_reach, None, None)
    pairs = [(there, here) for seed, here in own.items() if here is not None and (there := base.get(seed)) is not None]
    ratio = paired_ratio([there for there, _ in pairs], [here for _, here in pairs])
    logs = [math.log(there / here) for there, here in pairs]
    return SpeedUp(rung, currency, arm_reach, ratio, sign_flip_p(logs))
