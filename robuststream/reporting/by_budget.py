"""The figure of a study with several budgets: what each amount of compute buys, sampler by sampler."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from robuststream.evidence.intervals import FEWEST_PAIRS
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.style import Look, drawn_line, grid, legend

_COLUMNS = 3


def by_budget(summary: StudySummary, look: dict[str, Look], unit: str) -> Figure:
    """One panel per scenario: test accuracy against the budget (logarithmic), a line per sampler with intervals."""
    scenarios = list(dict.fromkeys(curve.scenario for curve in summary.tradeoffs))
    columns = min(len(scenarios), _COLUMNS)
    figure, panels = grid(-(-len(scenarios) // columns), columns, (6.2 if columns == 1 else 3.4, 3.1))
    flat = [axes for row in panels for axes in row]
    handles: dict[str, Any] = {}
    for axes, scenario in zip(flat, scenarios, strict=False):
        axes.set_title(scenario)
        axes.set_xscale("log", base=2)
        amounts: set[float] = set()
        for curve in (curve for curve in summary.tradeoffs if curve.scenario == scenario):
            x = [point.amount for point in curve.points]
            amounts |= set(x)
            handles[curve.sampler] = drawn_line(
                axes, x, [100 * point.accuracy.mean for point in curve.points], look[curve.sampler]
            )
            for point in curve.points:
                if point.interval:
                    ends = [100 * point.interval.low, 100 * point.interval.high]
                    axes.plot([point.amount] * 2, ends, color=look[curve.sampler].color, linewidth=0.9)
        axes.set_xticks(sorted(amounts), [f"{amount:g}" for amount in sorted(amounts)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"budget, {'uniform epochs' if unit == 'epochs' else unit}")
    for row in panels:
        row[0].set_ylabel("test accuracy, %")
    for spare in flat[len(scenarios) :]:
        spare.remove()
    legend(figure, {sampler: handles[sampler] for sampler in look if sampler in handles}, min(len(handles), 2 * max(2, columns)))
    return figure


def budget_caption(summary: StudySummary) -> str:
    """What the lines and bars are."""
    bars = any(point.interval for curve in summary.tradeoffs for point in curve.points)
    told = "bars are 95 % intervals of the mean (Student's t)" if bars else f"below {FEWEST_PAIRS} seeds no interval is drawn"
    return (
        f"Test accuracy at the last step against the whole budget of the run, means over seeds; {told}. Every point is a "
        "schedule of its own, decayed to its end: up and to the left is better."
    )
