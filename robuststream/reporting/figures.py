"""The figures of a report: curves against charged compute, and the histograms of `histograms`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robuststream.errors import UserError
from robuststream.evidence._flag import Cells, Place, by_cell
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import ScenarioSummary, StudySummary
from robuststream.records import RunRecords
from robuststream.reporting.by_budget import budget_caption, by_budget
from robuststream.reporting.curves import Curve, band, curve
from robuststream.reporting.histograms import caption, histograms, stored_values
from robuststream.reporting.planes import planes
from robuststream.reporting.style import (
    REFERENCE,
    Drawn,
    Look,
    Plan,
    Who,
    drawn_line,
    file_name,
    grid,
    legend,
    looks,
    save,
    styled,
)

_COLUMNS = 3
_DASHES = (0, (2, 2))
_CLOSE = "accuracy-close"


@dataclass(frozen=True)
class _Kind:
    """One figure of curves: the key of an evaluation, and how it is told."""

    name: str
    key: str
    label: str
    scale: float
    title: str
    told: str
    note: str


_KINDS = (
    _Kind(
        "accuracy",
        "validation_accuracy",
        "validation accuracy, %",
        100.0,
        "Accuracy against compute",
        "Validation accuracy",
        f" The dashed line is {HEADLINE[0]}, the target of the first table.",
    ),
    _Kind(
        _CLOSE,
        "validation_accuracy",
        "validation accuracy, %",
        100.0,
        "Accuracy near the target",
        "The same validation accuracy from the lowest T90 upwards, where most targets lie,",
        f" The dashed line is {HEADLINE[0]}.",
    ),
    _Kind(
        "enrichment",
        "enrichment",
        "enrichment",
        1.0,
        "Wrong labels drawn",
        "Share of wrong labels among the drawn examples, over their share in the training data,",
        " At 1 (dashed) wrong labels are drawn as often as they occur.",
    ),
    _Kind(
        "concordance",
        "concordance",
        "pairs ordered as fresh, %",
        100.0,
        "Are stored values still in order?",
        "Share of pairs of examples whose stored base values are ordered as freshly computed ones are,",
        " At 50 (dashed) the order is chance.",
    ),
)


Each = Callable[[Callable[[Plan], None], Sequence[Plan]], None]
"""Calls a function on every plan, in whatever process; the function and the plans can be pickled."""


def one_by_one(write: Callable[[Plan], None], plans: Sequence[Plan]) -> None:
    for plan in plans:
        write(plan)


def draw_all(
    summary: StudySummary, runs: Sequence[RunRecords], folder: Path, pdf: bool = False, each: Each | None = None
) -> list[Drawn]:
    """Write every figure that the finished runs have something for, as PNG and SVG; the main figure comes first.

    `each` may draw them side by side. Raises UserError where `folder` is a link: old figures are removed, and that would be done
    wherever it leads.
    """
    finished = [run for run in runs if run.result is not None]
    if not finished:
        return []
    if folder.is_symlink():
        raise UserError(f"{folder} is a link to another place, whose figures a report would replace; remove the link")
    folder.mkdir(exist_ok=True)
    plans = list(_plans(summary, finished))
    drawn = [plan.drawn for plan in plans]
    (each or one_by_one)(partial(_write, folder, pdf), plans)
    _remove_others(folder, drawn, pdf)
    return drawn


def _plans(summary: StudySummary, finished: Sequence[RunRecords]) -> Iterator[Plan]:
    """What there is to draw, in the order of the report."""
    cells, look = by_cell(finished), _looks(summary)
    known: dict[str, Lines] = {}  # two kinds show the same
    for kind in _KINDS:
        lines = known[kind.key] = known.get(kind.key) or _lines(summary, cells, kind)
        if lines and not (kind.name == _CLOSE and _lowest(summary) is None):
            yield Plan(Drawn(kind.name, kind.title, _caption(summary, kind)), partial(_over_compute, summary, lines, kind))
        if kind.name == _CLOSE:
            yield from planes(summary, finished, look)
    if summary.tradeoffs:
        unit = finished[0].settings["recipe"]["budget"]["unit"]
        yield Plan(Drawn("tradeoff", "Accuracy by budget", budget_caption(summary)), partial(by_budget, summary, look, unit))
    for place, scenario in enumerate(summary.scenarios, 1):
        if stored := stored_values(scenario, cells):
            name = f"histograms-{place}-{file_name(scenario.scenario)}"
            title = f"Stored and fresh base values: {scenario.scenario}"
            yield Plan(Drawn(name, title, caption(stored)), partial(histograms, stored, look))


def _write(folder: Path, pdf: bool, plan: Plan) -> None:
    with styled():
        save(plan.draw(), plan.drawn.name, folder, pdf)


def _remove_others(folder: Path, drawn: Sequence[Drawn], pdf: bool) -> None:
    """Figures of an earlier report that this one no longer has."""
    for path in [*folder.glob("*.png"), *folder.glob("*.svg"), *folder.glob("*.pdf")]:
        if path.stem not in {figure.name for figure in drawn} or (path.suffix == ".pdf" and not pdf):
            path.unlink()


def _looks(summary: StudySummary) -> dict[str, Look]:
    return looks([Who(arm.sampler, arm.kind, arm.placebo) for arm in summary.scenarios[0].arms], summary.baseline)


Lines = dict[str, dict[str, Curve]]
"""Scenario -> sampler -> its curve."""


def _lines(summary: StudySummary, cells: Cells, kind: _Kind) -> Lines:
    found: Lines = {}
    for scenario in summary.scenarios:
        for arm in scenario.arms:
            own = cells.get(Place(scenario.scenario, arm.sampler), [])
            if line := curve(own, kind.key, kind.scale):
                found.setdefault(scenario.scenario, {})[arm.sampler] = line
    return found


def _over_compute(summary: StudySummary, lines: Lines, kind: _Kind) -> Figure:
    """One panel per scenario, one line per sampler."""
    columns = min(len(lines), _COLUMNS)
    figure, panels = grid(-(-len(lines) // columns), columns, (6.2 if columns == 1 else 3.4, 3.1))
    flat = [axes for row in panels for axes in row]
    look, handles = _looks(summary), {}
    for axes, scenario in zip(flat, (s for s in summary.scenarios if s.scenario in lines), strict=False):
        axes.set_title(scenario.scenario)
        for sampler, line in lines[scenario.scenario].items():
            axes.fill_between(line.x, line.low, line.high, color=look[sampler].color, alpha=0.15, linewidth=0)
            handles[sampler] = drawn_line(axes, line.x, line.mean, look[sampler])
        _reference(axes, kind, scenario)
        axes.set_xlabel("charged compute, uniform epochs")
    for row in panels:
        row[0].set_ylabel(kind.label)
    for spare in flat[len(lines) :]:
        spare.remove()
    if kind.name == _CLOSE:
        for row in panels:
            row[0].set_ylim(_lowest(summary), min(100.0, row[0].get_ylim()[1]))
    shown = {sampler: handles[sampler] for sampler in look if sampler in handles}
    legend(figure, shown, min(len(shown), 2 * max(2, columns)))
    return figure


def _reference(axes: Axes, kind: _Kind, scenario: ScenarioSummary) -> None:
    """The line that the curves are read against."""
    rungs = scenario.ladder
    target = 100 * rungs.targets[HEADLINE[0]] if rungs else None
    level = {"accuracy": target, _CLOSE: target, "enrichment": 1.0, "concordance": 50.0}[kind.name]
    if level is not None:
        axes.axhline(level, color=REFERENCE, linewidth=0.8, linestyle=_DASHES)


def _lowest(summary: StudySummary) -> float | None:
    """The lowest T90 of all scenarios, in per cent; None where no scenario has a target."""
    return min((100 * scenario.ladder.targets["T90"] for scenario in summary.scenarios if scenario.ladder), default=None)


def _caption(summary: StudySummary, kind: _Kind) -> str:
    note = "" if kind.name == "accuracy" and summary.baseline is None else kind.note
    return f"{kind.told} against charged compute. Lines are means over seeds; bands are {band(*summary.depth)}.{note}"
