"""Costs of which some are only known to lie beyond the budget (rule 5): nothing here drops a run that missed.

The speed-up of the first table rests on the pairs in which both reached, which flatters whoever missed. Two figures stand
beside it that do not: the restricted mean (misses count as the whole budget) and the median ratio (misses count as infinite).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from robuststream.evidence.intervals import FEWEST_PAIRS, LEVEL, Interval, t_interval

Costs = Mapping[int, float | None]
"""Seed -> cost to a target; None where the run missed."""


@dataclass(frozen=True)
class Restricted:
    """Mean cost in shares of the budget with misses at 1 (the restricted mean at the budget, Royston and Parmar, 2013)."""

    mean: float
    interval: Interval | None  # Student's t; None below 5 runs
    runs: int


@dataclass(frozen=True)
class MedianRatio:
    """Median over seeds of uniform's cost over the arm's, misses infinite: 0 where the arm never came, inf where uniform never.

    `value` is None where the median lies among seeds on which both missed: then the ratio could be anything.
    """

    value: float | None
    interval: Interval | None  # order statistics, see `median_interval`; None below 5 pairs
    pairs: int


def restricted_mean(shares: Costs) -> Restricted | None:
    """Of costs in shares of the budget (the last step may end a little beyond it); None without a run."""
    if not shares:
        return None
    capped = [1.0 if share is None else min(1.0, share) for share in shares.values()]
    found = t_interval(capped)
    return Restricted(fmean(capped), Interval(max(0.0, found.low), min(1.0, found.high)) if found else None, len(capped))


def median_ratio(base: Costs, own: Costs) -> MedianRatio | None:
    """Of base cost over own cost on the seeds that both have; None without one.

    A pair in which both missed is a ratio that nobody knows. It is set to 0 for the lower end and to infinity for the upper
    one, so the interval holds whatever it would have been.
    """
    pairs = [(base[seed], own[seed]) for seed in own if seed in base]
    if not pairs:
        return None
    lows, highs = ([_ratio(there, here, unknown) for there, here in pairs] for unknown in (0.0, math.inf))
    low, high = _median(lows), _median(highs)
    ends = (median_interval(lows), median_interval(highs))
    interval = Interval(ends[0].low, ends[1].high) if ends[0] and ends[1] else None
    return MedianRatio(low if low == high else None, interval, len(pairs))


def median_interval(ratios: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Of the median of positive ratios, 0 and infinity allowed, whatever their distribution; None below 5.

    Order statistics whose level brackets the wanted one, interpolated in logarithms [Hettmansperger and Sheather, 1986]. Five
    values cannot give more than their whole range, at 93.75 %.
    """
    n = len(ratios)
    if n < FEWEST_PAIRS:
        return None
    logs = sorted(map(_log, ratios))
    levels = _levels(n)
    depth = max(1, int((levels[1 : (n + 1) // 2] >= level).sum()))
    outer, inner = float(levels[depth]), float(levels[depth + 1])
    share = max(0.0, (outer - level) / (outer - inner))
    weight = (n - depth) * share / (depth + (n - 2 * depth) * share)
    low = _between(logs[depth - 1], logs[depth], weight)
    high = _between(logs[n - depth], logs[n - depth - 1], weight)
    return Interval(math.exp(low), math.exp(high))


def _levels(n: int) -> NDArray[np.float64]:
    """(n + 1,): at each depth, the chance that the median lies between the depth-th smallest and largest of n values; falling."""
    return 1 - 2 * stats.binom.cdf(np.arange(-1, n), n, 0.5)


def _between(outer: float, inner: float, weight: float) -> float:
    """An infinite end stays infinite as long as it has any weight."""
    if outer == inner or weight == 0:
        return outer
    return inner if weight == 1 else (1 - weight) * outer + weight * inner


def _ratio(there: float | None, here: float | None, unknown: float) -> float:
    if there is None:
        return unknown if here is None else math.inf
    return 0.0 if here is None else there / here


def _median(ratios: Sequence[float]) -> float:
    """Geometric where two share the middle; NaN between 0 and infinity, where nobody knows."""
    logs = sorted(map(_log, ratios))
    return math.exp((logs[(len(logs) - 1) // 2] + logs[len(logs) // 2]) / 2)


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf
