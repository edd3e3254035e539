"""The end of `bench` on a terminal: one row per scenario and sampler."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from robuststream.errors import printable
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.markdown import NONE, accuracy, gap, ratio


def summary_table(summary: StudySummary) -> Table:
    """Accuracy, gap and speed-up of a study."""
    rung = HEADLINE[0]
    table = Table(title=Text(f"{printable(summary.name)}: {summary.finished} of {summary.planned} runs"), title_justify="left")
    for header in ("scenario", "sampler"):
        table.add_column(header, justify="left", overflow="fold")
    for header in ("test accuracy, %", "gap, points", f"speed-up to {rung}, FLOPs", f"reached {rung}"):
        table.add_column(header, justify="right")
    for scenario in summary.scenarios:
        for place, arm in enumerate(scenario.arms):
            base = arm.sampler == summary.baseline
            reach = arm.reach.get(rung)
            cells = [
                scenario.scenario if place == 0 else "",
                arm.sampler,
                accuracy(arm.last_test),
                "baseline" if base else gap(arm.gap),
                "1" if base and reach else NONE if base else ratio(arm.speedups.get(HEADLINE)),
                NONE if reach is None else f"{reach.reached} of {reach.runs}",
            ]
            table.add_row(*(Text(printable(cell)) for cell in cells), end_section=place == len(scenario.arms) - 1)
    return table
