"""Accuracy under attack (rule 11): how sure it is over examples and over seeds, and who is both fast and robust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from robuststream.evidence._flag import result_of
from robuststream.evidence.arms import Gap, Spread, paired_points, spread
from robuststream.evidence.intervals import Interval, t_interval, wilson
from robuststream.evidence.speedup import HEADLINE, number
from robuststream.evidence.summary import StudySummary
from robuststream.evidence.suspicion import measurements
from robuststream.records import RunRecords


@dataclass(frozen=True)
class Target:
    """What was measured: a radius, and the part of the test set. Figures of two targets do not compare."""

    eps: float
    examples: int
    of: int
    subset: str  # hash of the examples' rows


@dataclass(frozen=True)
class Standing:
    """A share of examples still classified correctly, in [0, 1]. The two intervals answer two questions and are never joined."""

    share: Spread  # mean and standard deviation over seeds
    over_seeds: Interval | None  # Student's, cut to [0, 1]: other seeds, the same examples; None below 5 seeds
    over_examples: Interval  # Wilson's at the mean share: other examples, the same networks


@dataclass(frozen=True)
class ArmRobustness:
    """One sampler in one scenario under one target. Each attack sees only what the earlier ones left."""

    scenario: str
    sampler: str
    clean: Standing
    attacks: dict[str, Standing]  # name -> after this attack and those before it, of the runs that have it
    worst: Standing  # after all attacks that a run has
    gap: Gap | None  # worst case less uniform's, in points, on paired seeds; None for the baseline


@dataclass(frozen=True)
class Robustness:
    """Every arm under one target, and the attacks that some run has, in order."""

    target: Target
    attacks: tuple[str, ...]
    arms: tuple[ArmRobustness, ...]


@dataclass(frozen=True)
class Point:
    """An arm in the plane of speed and robustness, on the `front` unless another is better in one and no worse in the other."""

    sampler: str
    speed: float  # speed-up to the headline's target; 1 for the baseline
    speed_ends: Interval | None
    worst: Standing
    front: bool


@dataclass(frozen=True)
class Price:
    """What a scenario makes one trained example cost, and what share of it its own passes (perturb) are."""

    scenario: str
    sampler: str  # the baseline, where there is one
    per_example: float  # charged FLOPs per trained example, in plain training steps' FLOPs
    perturb: float  # examples through the network to perturb one trained example
    steps: float  # mean over runs


def robustness(summary: StudySummary, finished: Sequence[RunRecords]) -> tuple[Robustness, ...]:
    """One entry for every target that some finished run was measured under, in the order of first sight; () where none was."""
    targets = dict.fromkeys(_target(found) for run in finished for found in measurements(run))
    return tuple(_under(target, summary, finished) for target in targets)


def _target(found: dict[str, Any]) -> Target:
    return Target(found["eps"], found["examples"], found["of"], found["subset"])


def _under(target: Target, summary: StudySummary, finished: Sequence[RunRecords]) -> Robustness:
    cells: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for run in finished:
        for found in measurements(run):
            if _target(found) == target:
                cells.setdefault((run.scenario, run.sampler), {})[run.seed] = found
    attacks = tuple(dict.fromkeys(name for cell in cells.values() for found in cell.values() for name in found["attacks"]))
    arms = []
    for scenario in summary.scenarios:
        base = cells.get((scenario.scenario, summary.baseline or ""), {})
        for arm in scenario.arms:
            if own := cells.get((scenario.scenario, arm.sampler)):
                arms.append(_arm(scenario.scenario, arm.sampler, target, attacks, own, base))
    return Robustness(target, attacks, tuple(arms))


def _arm(
    scenario: str,
    sampler: str,
    target: Target,
    attacks: Sequence[str],
    own: dict[int, dict[str, Any]],
    base: dict[int, dict[str, Any]],
) -> ArmRobustness:
    def standing(counts: Sequence[int]) -> Standing | None:
        shares = [count / target.examples for count in counts]
        mean = spread(shares)
        if mean is None:
            return None
        return Standing(mean, _possible(t_interval(shares)), wilson(round(mean.mean * target.examples), target.examples))

    after = {name: standing([found["attacks"][name] for found in own.values() if name in found["attacks"]]) for name in attacks}
    clean, worst = standing([found["clean"] for found in own.values()]), standing([_worst(found) for found in own.values()])
    assert clean is not None  # an arm without a measurement does not come here
    assert worst is not None
    points = [
        100 * (_worst(found) - _worst(base[seed])) / target.examples
        for seed, found in own.items()
        if own is not base and seed in base and _alike(found, base[seed])
    ]
    gap = None if base == own else paired_points(points)
    return ArmRobustness(scenario, sampler, clean, {name: one for name, one in after.items() if one}, worst, gap)


def _possible(ends: Interval | None) -> Interval | None:
    """A mean of shares lies in [0, 1], so what an interval has beyond cannot hold it: cutting that off costs no coverage."""
    return ends and Interval(max(0.0, ends.low), min(1.0, ends.high))


def _worst(found: dict[str, Any]) -> int:
    return found["standing"].count("1")


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Attacked by the same attacks: fewer leave more standing."""
    return set(one["attacks"]) == set(other["attacks"])


def plane(found: Robustness, summary: StudySummary) -> dict[str, list[Point]]:
    """Scenario -> its arms that have a speed-up, and the baseline at 1. Empty where a study has no baseline."""
    told: dict[str, list[Point]] = {}
    for scenario in summary.scenarios:
        points = []
        for arm in scenario.arms:
            worst = next(
                (one.worst for one in found.arms if (one.scenario, one.sampler) == (scenario.scenario, arm.sampler)), None
            )
            speed = arm.speedups.get(HEADLINE)
            if worst is None:
                continue
            if arm.sampler == summary.baseline:
                points.append(Point(arm.sampler, 1.0, None, worst, False))
            elif speed is not None and speed.ratio is not None:
                points.append(Point(arm.sampler, speed.ratio.value, speed.ratio.interval, worst, False))
        if points:
            told[scenario.scenario] = _with_front(points)
    return told


def _with_front(points: Sequence[Point]) -> list[Point]:
    def beaten(one: Point) -> bool:
        return any(
            other.speed >= one.speed
            and other.worst.share.mean >= one.worst.share.mean
            and (other.speed > one.speed or other.worst.share.mean > one.worst.share.mean)
            for other in points
        )

    return [Point(one.sampler, one.speed, one.speed_ends, one.worst, not beaten(one)) for one in points]


def prices(summary: StudySummary, finished: Sequence[RunRecords]) -> tuple[Price, ...]:
    """What each scenario costs, from the baseline's runs (or the first arm's that has any)."""
    told = []
    for scenario in summary.scenarios:
        labels = [arm.sampler for arm in scenario.arms if arm.finished]
        sampler = summary.baseline if summary.baseline in labels else next(iter(labels), None)
        totals = [result_of(run)["totals"] for run in finished if (run.scenario, run.sampler) == (scenario.scenario, sampler)]
        trained = sum(total["forwards"]["train"] for total in totals)
        if sampler is None or not trained:
            continue
        plain = totals[0]["flops_per_forward"] + totals[0]["flops_per_backward"]
        flops = sum(number(total["flops"]) or 0.0 for total in totals)
        perturb = sum(total["forwards"].get("perturb", 0) for total in totals)
        steps = fmean(total["steps"] for total in totals)
        told.append(Price(scenario.scenario, sampler, flops / trained / plain, perturb / trained, steps))
    return tuple(told)
