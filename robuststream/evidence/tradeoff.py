"""Accuracy by budget: every budget is a study of its own, with its own fully decayed schedule, and together they are a curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from robuststream.evidence.arms import Gap, Spread, paired_gap, spread
from robuststream.evidence.intervals import Interval, holm, t_interval
from robuststream.evidence.speedup import number
from robuststream.records import RunRecords


@dataclass(frozen=True)
class Point:
    """One sampler at one budget, in one scenario."""

    share: float  # of the recipe's budget
    amount: float  # in the budget's unit
    accuracy: Spread  # test, at the last step
    interval: Interval | None  # of its mean, Student's t; None below 5 runs
    gap: Gap | None  # to uniform at the same budget; p adjusted over the arms and budgets of the scenario; None for uniform
    whole: Gap | None  # to uniform at the recipe's own budget, p as sign-flips gave it; None without such runs
    best: bool  # no sampler has a higher mean at this budget or below it: a point of the Pareto front


@dataclass(frozen=True)
class Tradeoff:
    """One sampler in one scenario, budgets ascending."""

    scenario: str
    sampler: str
    points: tuple[Point, ...]


def shares(study: dict[str, Any]) -> list[float]:
    """The study's budgets in shares of its recipe's; [1.0] where it has one budget."""
    return study.get("budgets") or [1.0]


def whole_share(study: dict[str, Any]) -> float:
    """The budget that everything but the trade-off is told of: the recipe's own, or the largest where that is not among them."""
    found = shares(study)
    return 1.0 if 1.0 in found else max(found)


def at_whole_budget(study: dict[str, Any], runs: Sequence[RunRecords]) -> list[RunRecords]:
    """The runs at that budget; all runs of a study that has one."""
    return at_share(study, runs, whole_share(study)) if len(shares(study)) > 1 else list(runs)


def at_share(study: dict[str, Any], runs: Sequence[RunRecords], share: float) -> list[RunRecords]:
    amount = share * study["recipe"]["budget"]["amount"]
    return [run for run in runs if run.budget == amount]


def tradeoffs(study: dict[str, Any], finished: Sequence[RunRecords], baseline: str | None) -> list[Tradeoff]:
    """Every sampler in every scenario of a study with several budgets; [] where it has one."""
    if len(shares(study)) < 2:
        return []
    found: list[Tradeoff] = []
    for entry in study["scenarios"]:
        own = [run for run in finished if run.scenario == entry["label"]]
        curves = [_curve(study, own, arm["label"], baseline) for arm in study["samplers"]]
        found += _judged([curve for curve in curves if curve.points])
    return found


def _curve(study: dict[str, Any], runs: Sequence[RunRecords], sampler: str, baseline: str | None) -> Tradeoff:
    """Of one scenario's runs."""
    base = [run for run in runs if run.sampler == baseline]
    points = []
    for share in shares(study):
        own = at_share(study, [run for run in runs if run.sampler == sampler], share)
        found = [number(run.result["last"]["test_accuracy"]) for run in own if run.result]
        values = [value for value in found if value is not None]
        if (accuracy := spread(values)) is None:
            continue
        gap = paired_gap(own, at_share(study, base, share)) if sampler != baseline else None
        amount = share * study["recipe"]["budget"]["amount"]
        whole = paired_gap(own, at_whole_budget(study, base))
        points.append(Point(share, amount, accuracy, t_interval(values), gap, whole, best=False))
    scenario = runs[0].scenario if runs else ""
    return Tradeoff(scenario, sampler, tuple(points))


def _judged(curves: Sequence[Tradeoff]) -> list[Tradeoff]:
    """With the front of the scenario marked, and p adjusted."""
    every = [point for curve in curves for point in curve.points]
    adjusted = iter(holm([point.gap.p if point.gap else None for point in every]))
    found = []
    for curve in curves:
        points = []
        for point, p in zip(curve.points, adjusted, strict=False):
            beaten = any(_dominates(other, point) for other in every)
            points.append(replace(point, gap=replace(point.gap, p=p) if point.gap else None, best=not beaten))
        found.append(replace(curve, points=tuple(points)))
    return found


def _dominates(other: Point, point: Point) -> bool:
    """No dearer and no less accurate, and one of the two strictly."""
    cheaper, better = other.amount - point.amount, other.accuracy.mean - point.accuracy.mean
    return cheaper <= 0 and better >= 0 and (cheaper < 0 or better > 0)
