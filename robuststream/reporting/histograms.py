"""Base values as stored and as they would be if computed now: the figure that shows how out of date a sampler's table is."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robuststream.evidence._flag import Cells, Place
from robuststream.evidence.summary import ScenarioSummary
from robuststream.reporting.style import BASELINE, Look, grid

Stored = dict[str, tuple[int, list[dict[str, Any]]]]
"""Sampler -> the seed shown, and its evaluations that hold a histogram: first, middle, last."""


def stored_values(scenario: ScenarioSummary, cells: Cells) -> Stored:
    """The first seed of each sampler that stores values; empty where none does."""
    found: Stored = {}
    for arm in scenario.arms:
        own = cells.get(Place(scenario.scenario, arm.sampler), [])
        for run in sorted(own, key=lambda run: run.seed):
            rows = [row for row in run.evaluations if row.get("histogram")]
            if rows:
                found[arm.sampler] = (run.seed, [rows[0], rows[len(rows) // 2], rows[-1]] if len(rows) > 2 else rows)
                break
    return found


def histograms(stored: Stored, look: dict[str, Look]) -> Figure:
    """One row per sampler; stored filled, fresh as a line."""
    columns = max(len(rows) for _, rows in stored.values())
    figure, panels = grid(len(stored), columns, (2.7, 1.45))
    for axes_row, (sampler, (_, rows)) in zip(panels, stored.items(), strict=True):
        for axes, row in zip(axes_row, rows, strict=False):
            _histogram(axes, row["histogram"], look[sampler].color)
            axes.set_title(f"{sampler}, step {row['step']}")
        for axes in axes_row[1:]:
            axes.tick_params(left=False)
        for spare in axes_row[len(rows) :]:
            spare.remove()
        axes_row[0].set_ylabel("examples, %")
    for axes in panels[-1]:
        axes.set_xlabel("base value")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _histogram(axes: Axes, found: dict[str, Any], color: str) -> None:
    for name, filled in (("stored", True), ("fresh", False)):
        counts, total = found[name], sum(found[name]) or 1
        shares = [100 * count / total for count in counts]
        paint = {"color": color, "alpha": 0.45, "linewidth": 0} if filled else {"color": BASELINE, "linewidth": 0.9}
        axes.stairs(shares, found["edges"], fill=filled, label=name, **paint)
    axes.grid(False)
    axes.locator_params(nbins=4)


def caption(stored: Stored) -> str:
    """What the figure shows, and what to look for."""
    seeds = dict.fromkeys(seed for seed, _ in stored.values())
    return (
        "Base values as the sampler stores them (filled) and as they would be if computed now (line), on the same examples, "
        f"at the first, middle and last evaluation; one run each, seed {', '.join(map(str, seeds))}. Where the two shapes "
        "differ, the sampler decides by values that are out of date."
    )
