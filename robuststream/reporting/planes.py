"""The plane speed-up x robust accuracy: one figure for each radius and subset, a panel for each scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from robuststream.evidence.robustness import Point, plane, robustness
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.records import RunRecords
from robuststream.reporting.robustness import radius, title_of
from robuststream.reporting.style import REFERENCE, Drawn, Look, Plan, grid, legend

_COLUMNS = 3
_DECADE = 5.0  # speed-ups that differ by less are marked at round numbers, others at parts of a decade


def planes(summary: StudySummary, finished: Sequence[RunRecords], look: dict[str, Look]) -> Iterator[Plan]:
    """The figures in which two samplers or more can be compared."""
    for place, found in enumerate(robustness(summary, finished), 1):
        points = plane(found, summary)
        if not any(len(own) > 1 for own in points.values()):
            continue
        caption = (
            f"Speed-up to {HEADLINE[0]} in charged FLOPs, and worst-case accuracy under attack ({title_of(found)}), every panel "
            "on its own scale. Bars are 95 % intervals over seeds where there are any; the grey line joins the samplers that no "
            "other beats in both. Samplers without a speed-up are left out."
        )
        drawn = Drawn(f"robust-plane-{place}", f"Speed and robustness: eps {radius(found.target.eps)}", caption)
        yield Plan(drawn, partial(_figure, points, look))


def _figure(points: dict[str, list[Point]], look: dict[str, Look]) -> Figure:
    columns = min(len(points), _COLUMNS)
    figure, panels = grid(-(-len(points) // columns), columns, (5.2 if columns == 1 else 3.4, 3.1), shared=False)
    flat = [axes for row in panels for axes in row]
    handles: dict[str, ErrorbarContainer] = {}
    for axes, (scenario, own) in zip(flat, points.items(), strict=False):
        axes.set_title(scenario)
        front = sorted((one for one in own if one.front), key=lambda one: one.speed)
        line = [one.speed for one in front], [100 * one.worst.share.mean for one in front]
        axes.plot(*line, color=REFERENCE, linewidth=0.8, zorder=1)
        for one in own:
            handles[one.sampler] = _point(axes, one, look[one.sampler])
        _scales(axes)
    for row in panels:
        row[0].set_ylabel("worst-case accuracy, %")
    for spare in flat[len(points) :]:
        spare.remove()
    shown = {sampler: handles[sampler] for sampler in look if sampler in handles}
    legend(figure, shown, min(len(shown), 2 * max(2, columns)))  # at the points names would cover each other
    return figure


def _point(axes: Axes, one: Point, look: Look) -> ErrorbarContainer:
    x, y = one.speed, 100 * one.worst.share.mean
    across = [[x - one.speed_ends.low], [one.speed_ends.high - x]] if one.speed_ends else None
    ends = one.worst.over_seeds
    along = [[y - 100 * ends.low], [100 * ends.high - y]] if ends else None
    bars = axes.errorbar([x], [y], yerr=along, xerr=across, fmt=look.marker or "D", color=look.color, markersize=5, linewidth=0.9)
    if look.hollow:
        bars[0].set_markerfacecolor("white")
    return bars


def _scales(axes: Axes) -> None:
    axes.margins(0.08)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if high / low < _DECADE else LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("speed-up, charged FLOPs")
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -2.0), min(top, 102.0))  # a little beyond what a share can be, so that a point there is whole
