"""Curves over seeds on a common axis: numbers for the figures, no drawing here."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from robuststream.evidence.intervals import FEWEST_PAIRS, LEVEL
from robuststream.records import RunRecords

Array = NDArray[np.float64]

_POINTS = 80
"""At most so many points a curve; what a run has beyond that, a figure cannot show."""


@dataclass(frozen=True)
class Curve:
    """Mean over seeds with its band, each (P,) over the P points of `x`."""

    x: Array  # cost: in uniform epochs where it is charged FLOPs, else in the currency's own unit
    mean: Array
    low: Array
    high: Array


def uniform_epoch(run: RunRecords) -> float:
    """Charged FLOPs of an epoch of plain training: N examples, each forward and backward once."""
    assert run.result is not None
    totals = run.result["totals"]
    return run.result["data"]["train"] * (totals["flops_per_forward"] + totals["flops_per_backward"])


def curve(runs: Sequence[RunRecords], key: str, scale: float = 1.0, along: str = "flops") -> Curve | None:
    """One figure of the evaluations against a cost, charged FLOPs by default; None where no run has it at two evaluations.

    Runs are evaluated at nearly the same shares of the budget; they are brought to one axis by linear interpolation over the
    stretch that all of them have. The band is 95 % by Student's t from 5 runs up, else the smallest and largest run.
    """
    lines = _lines(runs, key, along)
    if not lines:
        return None
    start, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if start >= end:
        return None
    own = lines[0][0]
    grid = np.unique(np.clip(own, start, end)) if len(own) <= _POINTS else np.linspace(start, end, _POINTS)
    rows = scale * np.stack([np.interp(grid, x, y) for x, y in lines])
    mean = rows.mean(0)
    if len(rows) < FEWEST_PAIRS:
        return Curve(grid, mean, rows.min(0), rows.max(0))
    half = stats.t.ppf((1 + LEVEL) / 2, len(rows) - 1) * rows.std(0, ddof=1) / np.sqrt(len(rows))
    return Curve(grid, mean, mean - half, mean + half)


def band(fewest: int, most: int) -> str:
    """What the band of a curve is, for a caption; `fewest` and `most` runs stand behind the curves of the figure."""
    t, span = "95 % intervals of the mean (Student's t)", "the range from the lowest run to the highest"
    if fewest >= FEWEST_PAIRS:
        return t
    return span if most < FEWEST_PAIRS else f"{t} from {FEWEST_PAIRS} runs up, else {span}"


def _lines(runs: Sequence[RunRecords], key: str, along: str) -> list[tuple[Array, Array]]:
    """(cost, figure) of every run, where the figure is known; runs with fewer than two such places are left out."""
    costs, figures = _padded([run.series(along) for run in runs]), _padded([run.series(key) for run in runs])
    if along == "flops":
        costs = costs / np.array([[uniform_epoch(run)] for run in runs])
    known = ~np.isnan(figures)
    enough = known.sum(axis=1) >= 2
    return [(cost[at], figure[at]) for cost, figure, at in zip(costs[enough], figures[enough], known[enough], strict=True)]


def _padded(series: Sequence[array[float]]) -> Array:
    """As the rows of one array; what a shorter one lacks at its end is NaN."""
    rows = np.full((len(series), max(map(len, series), default=0)), np.nan)
    for row, one in zip(rows, series, strict=True):
        row[: len(one)] = one
    return rows
