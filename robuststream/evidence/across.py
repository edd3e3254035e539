"""Several scenarios in one figure: interquartile mean, probability of improvement, performance profile.

Definitions of rliable [Agarwal et al., 2021] and AlgoPerf [Dahl et al., 2023], on numpy and scipy. Intervals say how the
figures would move with other seeds in the same scenarios; other scenarios are a question that no interval here answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from robuststream.evidence.intervals import FEWEST_PAIRS, LEVEL, Interval
from robuststream.evidence.speedup import HEADLINE, Ladder, costs_by_seed, number
from robuststream.records import RunRecords

FARTHEST = 4.0
"""Ratio to the best cost up to which a profile is looked at (AlgoPerf)."""

_RESAMPLES = 1999
_SEED = 21  # of a generator made here and thrown away again: the same records always give the same report

Scores = Mapping[str, Sequence[float]]
"""Scenario -> a score for every seed."""


class Estimate(NamedTuple):
    """A figure, and its interval where every scenario has at least 5 values."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Across:
    """One sampler over all scenarios; a figure is None where a scenario lacks what it needs."""

    sampler: str
    accuracy: Estimate | None  # interquartile mean of test accuracy at the last step, in [0, 1]
    improvement: Estimate | None  # chance to end above uniform, in [0, 1]; None for the baseline
    profile: tuple[float, ...] | None  # shares of the scenarios within each of `RATIOS` of the best median cost
    score: float | None  # area under the profile from 1 to 4, over 3


RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, FARTHEST)
"""Where a profile is printed."""


def across_scenarios(
    cells: Mapping[str, Mapping[str, Sequence[RunRecords]]], baseline: str | None, ladders: Mapping[str, Ladder | None]
) -> tuple[Across, ...]:
    """Every sampler over all scenarios. `cells`: sampler -> scenario -> its finished runs; () below two scenarios."""
    scenarios = [name for name in ladders if any(own.get(name) for own in cells.values())]
    if len(scenarios) < 2:
        return ()
    scores = {sampler: _scores(own, scenarios) for sampler, own in cells.items()}
    base = scores[baseline] if baseline is not None else None
    ratios = _ratios(cells, {name: ladders[name] for name in scenarios})
    found = []
    for sampler, own in scores.items():
        versus = improvement(own, base) if own and base and sampler != baseline else None
        profile = tuple(within(ratios[sampler], ratio) for ratio in RATIOS) if sampler in ratios else None
        score = profile_score(ratios[sampler]) if sampler in ratios else None
        found.append(Across(sampler, interquartile_mean(own) if own else None, versus, profile, score))
    return tuple(found)


def _scores(own: Mapping[str, Sequence[RunRecords]], scenarios: Sequence[str]) -> dict[str, list[float]] | None:
    """Test accuracies at the last step; None where some scenario has none."""
    results = {name: [run.result for run in own.get(name, ()) if run.result] for name in scenarios}
    found = {name: [number(result["last"]["test_accuracy"]) for result in some] for name, some in results.items()}
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return known if all(known.values()) else None


def _ratios(
    cells: Mapping[str, Mapping[str, Sequence[RunRecords]]], ladders: Mapping[str, Ladder | None]
) -> dict[str, list[float]]:
    """Of median costs to the headline's target, for the samplers that ran in every scenario; {} where one has no target."""
    rung, currency = HEADLINE
    costs: dict[str, list[float]] = {}
    for sampler, own in cells.items():
        if all(own.get(name) and rungs for name, rungs in ladders.items()):
            costs[sampler] = [
                median_cost(costs_by_seed(own[name], rungs.targets[rung], currency)) for name, rungs in ladders.items() if rungs
            ]
    return best_ratios(costs) if costs else {}


def median_cost(costs: Mapping[int, float | None]) -> float:
    """Over seeds, misses infinite: infinite where half of the runs missed."""
    return median(math.inf if cost is None else cost for cost in costs.values())


def interquartile_mean(scores: Scores) -> Estimate:
    """Mean of the middle half of all scores together, with a stratified bootstrap interval.

    Every scenario is resampled by itself. A resample of n values has a variance that is too small by (n - 1) / n, so
    deviations from a scenario's mean are stretched by as much, and the level is widened from normal to Student's tails, as
    for `intervals.bca_interval`: a plain percentile bootstrap covers 86 % at 5 seeds.
    """
    rows = [np.asarray(values, dtype=float) for values in scores.values()]
    value = float(stats.trim_mean(np.concatenate(rows), 0.25))
    if min(map(len, rows)) < FEWEST_PAIRS:
        return Estimate(value, None)
    generator = np.random.default_rng(_SEED)
    drawn = np.concatenate([_resampled(row, generator) for row in rows], axis=1)
    means = stats.trim_mean(drawn, 0.25, axis=1)
    tail = stats.norm.cdf(-stats.t.ppf((1 + LEVEL) / 2, _freedom(rows)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, Interval(float(low), float(high)))


def _freedom(rows: Sequence[NDArray[np.float64]]) -> float:
    """Welch and Satterthwaite's degrees of freedom, from what every scenario adds to the variance of the trimmed mean."""
    ends = np.quantile(np.concatenate(rows), [0.25, 0.75])
    squares = np.array([len(row) * np.clip(row, *ends).var(ddof=1) for row in rows])
    free = np.array([len(row) - 1 for row in rows])
    return float(squares.sum() ** 2 / (squares**2 / free).sum()) if squares.any() else float(free.sum())


def _resampled(row: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """(resamples, n) values of one scenario."""
    n, middle = len(row), row.mean()
    return middle + math.sqrt(n / (n - 1)) * (row[generator.integers(0, n, (_RESAMPLES, n))] - middle)


def improvement(scores: Scores, base: Scores) -> Estimate:
    """Chance that a run of the arm beats a run of the baseline in a scenario, ties half, averaged over scenarios.

    The interval joins those of the scenarios by the recovery of variances [Zou and Donner, 2008], at Student's quantile for all
    seeds together; a bootstrap would be a point wherever one arm always wins. The seeds of two arms are taken as independent,
    as rliable does: where a shared seed makes arms alike the interval is wider than it need be.
    """
    freedom = sum(len(scores[name]) + len(base[name]) - 2 for name in scores)
    found = [_one_improvement(scores[name], base[name], freedom) for name in scores]
    value = sum(one.value for one in found) / len(found)
    ends = [one.interval for one in found]
    if not all(ends):
        return Estimate(value, None)
    below = math.sqrt(sum((one.value - one.interval.low) ** 2 for one in found if one.interval)) / len(found)
    above = math.sqrt(sum((one.interval.high - one.value) ** 2 for one in found if one.interval)) / len(found)
    return Estimate(value, Interval(max(0.0, value - below), min(1.0, value + above)))


def _one_improvement(own: Sequence[float], base: Sequence[float], freedom: int) -> Estimate:
    """Mann and Whitney's U over the number of pairs, with Newcombe's interval (2006, his method 5) at Student's quantile."""
    ahead = np.subtract.outer(np.asarray(own, dtype=float), np.asarray(base, dtype=float))
    value = float(((ahead > 0) + 0.5 * (ahead == 0)).mean())
    m, n = ahead.shape
    if min(m, n) < FEWEST_PAIRS:
        return Estimate(value, None)
    width = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) ** 2

    def excess(chance: float) -> float:
        """Squared distance less what the variance at `chance` allows: zero at both ends of the interval."""
        share = 1 + ((m + n) / 2 - 1) * ((1 - chance) / (2 - chance) + chance / (1 + chance))
        return (chance - value) ** 2 - width * chance * (1 - chance) * share / (m * n)

    inside = min(max(value, 1e-9), 1 - 1e-9)  # at 0 and 1 the excess has a second root, the estimate itself
    low = optimize.root_scalar(excess, bracket=(0.0, inside)).root if value > 0 else 0.0
    high = optimize.root_scalar(excess, bracket=(inside, 1.0)).root if value < 1 else 1.0
    return Estimate(value, Interval(float(low), float(high)))


def best_ratios(costs: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Sampler -> its cost in every scenario over the best cost there; infinite where it did not get there."""
    table = np.asarray(list(costs.values()), dtype=float)
    best = table.min(axis=0)
    ratios = np.where(np.isfinite(table), table / np.where(np.isfinite(best), best, 1.0), math.inf)
    return {sampler: row.tolist() for sampler, row in zip(costs, ratios, strict=True)}


def within(ratios: Sequence[float], ratio: float) -> float:
    """The profile at one ratio: share of the scenarios in which the cost is at most so many times the best."""
    return sum(one <= ratio for one in ratios) / len(ratios)


def profile_score(ratios: Sequence[float], farthest: float = FARTHEST) -> float:
    """Area under the profile from 1 to `farthest` over its width: 1 is best in every scenario, 0 is never within reach."""
    return sum(max(0.0, farthest - one) for one in ratios) / len(ratios) / (farthest - 1)
