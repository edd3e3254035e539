"""One sampler in one scenario: what it says by itself, and what it gains over uniform on the same seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from robuststream.evidence.censored import MedianRatio, Restricted, median_ratio, restricted_mean
from robuststream.evidence.costs import Costs, mean_costs
from robuststream.evidence.intervals import Interval, holm, sign_flip_p, t_interval
from robuststream.evidence.speedup import (
    CURRENCIES,
    HEADLINE,
    SHARES,
    CostsByRung,
    Ladder,
    Reach,
    SpeedUp,
    Timed,
    costs_by_rung,
    number,
    reach,
    speed_up,
    speed_up_of,
)
from robuststream.records import RunRecords

DIAGNOSTICS = ("enrichment", "wrong_drawn", "memorised", "coverage", "ess", "age", "concordance")
"""Keys of an evaluation that say what was drawn (rule 10)."""


@dataclass(frozen=True)
class Spread:
    """Mean over the runs that have the figure, standard deviation (None below two), and how many they are."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Gap:
    """Arm less uniform in test accuracy at the last step, in percentage points, on paired seeds."""

    points: float
    interval: Interval | None  # paired t; None below 5 pairs
    pairs: int
    p: float | None  # sign-flip, Holm-adjusted over the arms of the scenario


@dataclass(frozen=True)
class ArmSummary:
    """One sampler in one scenario. Whatever rests on finished runs is empty or None where there are none."""

    sampler: str
    kind: str
    planned: int
    finished: int
    diverged: int
    last_test: Spread | None
    best_test: Spread | None
    last_validation: Spread | None
    diagnostics: dict[str, Spread | None]  # at the last evaluation
    figures: dict[str, Spread]  # the scenario's own, such as accuracy under attack
    costs: Costs | None
    counters: dict[str, int]  # summed over the runs
    reach: dict[str, Reach] = field(default_factory=dict)  # rung -> share of the runs that reached it
    placebo: bool = False  # see `placebos`
    gap: Gap | None = None  # None for the baseline, and where no pair exists
    restricted: dict[str, Restricted] = field(default_factory=dict)  # rung -> mean cost, misses at the budget
    speedups: dict[tuple[str, str], SpeedUp] = field(default_factory=dict)  # (rung, currency); p is Holm-adjusted
    medians: dict[str, MedianRatio] = field(default_factory=dict)  # rung -> ratio in charged FLOPs, misses infinite
    amortised: dict[str, SpeedUp] = field(default_factory=dict)  # rung -> in FLOPs without those of its companions; p untold


def arm_summaries(
    kinds: dict[str, str], runs: dict[str, list[RunRecords]], baseline: str | None, rungs: Ladder | None, planned: int
) -> tuple[ArmSummary, ...]:
    """Every sampler (label -> kind) in one scenario, with its finished runs; p-values are adjusted over the arms."""
    uniform = runs[baseline] if baseline is not None else []
    base = costs_by_rung(uniform, rungs) if rungs else {}
    arms = []
    for label, own in runs.items():
        arm = _arm(label, kinds[label], planned, own)
        if rungs is not None and own:
            costs = costs_by_rung(own, rungs)
            arm = _timed(arm, costs)
            arm = arm if label == baseline else _compared(arm, (own, costs), (uniform, base), rungs)
        arms.append(arm)
    return tuple(_adjusted(arms))


def _arm(label: str, kind: str, planned: int, runs: list[RunRecords]) -> ArmSummary:
    """What an arm says by itself."""
    results = [run.result for run in runs if run.result]
    return ArmSummary(
        sampler=label,
        kind=kind,
        planned=planned,
        finished=len(runs),
        diverged=sum(bool(result["diverged"]) for result in results),
        last_test=spread(result["last"]["test_accuracy"] for result in results),
        best_test=spread(result["best"]["test_accuracy"] for result in results),
        last_validation=spread(result["last"]["validation_accuracy"] for result in results),
        diagnostics={key: spread(run.evaluations[-1].get(key) for run in runs if run.evaluations) for key in DIAGNOSTICS},
        figures=_figures(results),
        costs=mean_costs(results) if results else None,
        counters=_counters(results),
    )


def _timed(arm: ArmSummary, costs: CostsByRung) -> ArmSummary:
    """With its reach and its cost, to the targets that uniform set."""
    shares = {rung: found for (rung, currency), found in costs.items() if currency == "spent"}
    means = {rung: restricted_mean(found) for rung, found in shares.items()}
    return replace(
        arm,
        reach={rung: reach(found) for rung, found in shares.items()},
        restricted={rung: mean for rung, mean in means.items() if mean},
    )


def _compared(arm: ArmSummary, own: Timed, uniform: Timed, rungs: Ladder) -> ArmSummary:
    """With what it gains over uniform; needs runs of both."""
    (runs, costs), (base_runs, base) = own, uniform
    keys = [(rung, currency) for rung in SHARES for currency in CURRENCIES]
    medians = {rung: median_ratio(base[rung, HEADLINE[1]], costs[rung, HEADLINE[1]]) for rung in SHARES}
    return replace(
        arm,
        gap=paired_gap(runs, base_runs),
        speedups={key: speed_up_of(costs[key], base[key], *key) for key in keys},
        medians={rung: found for rung, found in medians.items() if found},
        amortised=_amortised(runs, base_runs, rungs),
    )


def _amortised(runs: Sequence[RunRecords], uniform: Sequence[RunRecords], rungs: Ladder) -> dict[str, SpeedUp]:
    """As if somebody else had paid for the companions; {} where there are none. Never the headline (rule 2)."""
    if not any(e.get("auxiliary_flops") for run in runs for e in run.evaluations):
        return {}
    spared = [
        replace(run, evaluations=[e | {"flops": e["flops"] - e.get("auxiliary_flops", 0.0)} for e in run.evaluations])
        for run in runs
    ]
    found = {rung: speed_up(spared, uniform, rungs, rung, "flops") for rung in SHARES}
    return {rung: replace(one, p=None) for rung, one in found.items()}


def _adjusted(arms: list[ArmSummary]) -> list[ArmSummary]:
    """The same arms with every p-value corrected for how many arms were tested in this scenario [Holm, 1979]."""
    gaps = holm([arm.gap.p if arm.gap else None for arm in arms])
    keys = [(rung, currency) for rung in SHARES for currency in CURRENCIES]
    ratios = {key: holm([arm.speedups[key].p if key in arm.speedups else None for arm in arms]) for key in keys}
    return [
        replace(
            arm,
            gap=replace(arm.gap, p=gaps[place]) if arm.gap else None,
            speedups={key: replace(found, p=ratios[key][place]) for key, found in arm.speedups.items()},
        )
        for place, arm in enumerate(arms)
    ]


def spread(values: Iterable[Any]) -> Spread | None:
    """Of the figures that have a meaning; None where there are none."""
    found = [value for raw in values if (value := number(raw)) is not None]
    return Spread(fmean(found), stdev(found) if len(found) > 1 else None, len(found)) if found else None


def paired_gap(runs: Sequence[RunRecords], uniform: Sequence[RunRecords]) -> Gap | None:
    """Of two arms' finished runs, on the seeds that both have; p is not yet adjusted. None without a pair."""

    def accuracy(of: Sequence[RunRecords]) -> dict[int, float]:
        found = {run.seed: number(run.result["last"]["test_accuracy"]) for run in of if run.result}
        return {seed: value for seed, value in found.items() if value is not None}

    own, base = accuracy(runs), accuracy(uniform)
    return paired_points([100 * (own[seed] - base[seed]) for seed in own if seed in base])


def paired_points(points: Sequence[float]) -> Gap | None:
    """From differences on paired seeds; None where there are none."""
    return Gap(fmean(points), t_interval(points), len(points), sign_flip_p(points)) if points else None


def _figures(results: list[dict[str, Any]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for result in results for name in result["scenario"])
    found = {name: spread(result["scenario"].get(name) for result in results) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _counters(results: list[dict[str, Any]]) -> dict[str, int]:
    names = dict.fromkeys(name for result in results for name in result["counters"])
    return {name: sum(result["counters"].get(name, 0) for result in results) for name in names}
