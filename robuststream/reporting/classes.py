"""Tables by class and by kind of noise, as Markdown; [] and '' where the records say nothing of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from robuststream.evidence.by_class import ClassView, by_class, by_noise
from robuststream.records import RunRecords
from robuststream.reporting.markdown import NONE, accuracy, escape, percent, quantity, table

MOST_CLASSES = 20
"""Up to here every class has a column; above, the worst tenth and the best stand for them."""

NOISE_CAPTION = (
    "*Test accuracy at the last step, per cent; then the share of the wrong labels that the network predicts in the end. "
    "Means over seeds.*"
)


class ClassTable(NamedTuple):
    """Title in text, one row per sampler."""

    title: str
    table: str


def class_tables(runs: Sequence[RunRecords]) -> list[ClassTable]:
    """For every scenario: test accuracy by class, under how many examples of it there were and how many labels were wrong."""
    return [
        ClassTable(
            f"{escape(view.scenario)}: test accuracy by class, per cent",
            _whole(view) if len(view.examples) <= MOST_CLASSES else _tenths(view),
        )
        for view in by_class(runs)
    ]


def noise_kind_table(runs: Sequence[RunRecords]) -> str:
    """Kinds of noise against samplers."""
    views = by_noise(runs)
    samplers = list(dict.fromkeys(name for view in views for name in view.accuracies))
    rows = []
    for view in views:
        cells = []
        for name in samplers:
            memorised = view.memorised.get(name)
            told = "" if memorised is None else f", {percent(memorised.mean, 0)}"
            cells.append(accuracy(view.accuracies.get(name)) + told)
        rows.append([escape(view.kind), escape(view.scenario), percent(view.rate), *cells])
    return table(["noise", "scenario", "wrong", *map(escape, samplers)], rows, left=2) if rows else ""


def _whole(view: ClassView) -> str:
    rows = [["examples", *map(quantity, view.examples)]]
    if any(view.wrong):
        rows.append(["wrong labels", *map(percent, view.wrong)])
    rows += [[escape(name), *(accuracy(found, 1) for found in row)] for name, row in view.accuracies.items()]
    return table(["", *map(str, range(len(view.examples)))], rows)


def _tenths(view: ClassView) -> str:
    rows = []
    for name, row in view.accuracies.items():
        means = sorted((found.mean, place) for place, found in enumerate(row) if found is not None)
        tenth = max(1, len(means) // 10)
        if means:
            worst, best = (fmean(mean for mean, _ in part) for part in (means[:tenth], means[-tenth:]))
            lowest = ", ".join(f"{place} ({percent(mean)})" for mean, place in means[:3])
            rows.append([escape(name), percent(worst), percent(best), lowest])
        else:
            rows.append([escape(name), NONE, NONE, NONE])
    return table(["sampler", "worst tenth of the classes", "best tenth", "worst classes"], rows)
