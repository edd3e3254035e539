"""The first table of a report, sampler by scenario, and what all scenarios say together."""

from __future__ import annotations

from robuststream.evidence.across import RATIOS, Across
from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.intervals import Interval
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.markdown import NONE, accuracy, escape, gap, interval, ratio, share, table
from robuststream.reporting.sides import Side, accuracy_side, speed_side
from robuststream.reporting.tables import marks

_WORDS: dict[Side, str] = {
    "better": "faster",
    "worse": "slower",
    "up": "reported",
    "down": "reported",
    "open": "no difference shown",
    "ahead": "measured",
    "behind": "measured",
}


def matrix_table(summary: StudySummary) -> str:
    """One row per sampler, one column per scenario: faster, slower, no difference, or did not get there; and accuracy."""
    rows = []
    for place, arm in enumerate(summary.scenarios[0].arms):
        cells = [_cell(scenario.arms[place], scenario.scenario, summary) for scenario in summary.scenarios]
        rows.append([escape(arm.sampler), *cells])
    return table(["sampler", *(escape(scenario.scenario) for scenario in summary.scenarios)], rows, left=len(rows[0]))


def _cell(arm: ArmSummary, scenario: str, summary: StudySummary) -> str:
    if not arm.finished:
        return NONE
    speed_doubt, accuracy_doubt = (marks(summary.flags, doubts, scenario, arm.sampler) for doubts in ("speed-up", "accuracy"))
    if arm.gap is None:
        return f"{accuracy(arm.last_test)} %{accuracy_doubt}"
    side = accuracy_side(arm)
    points = f"**{gap(arm.gap)}**" if side in ("better", "worse") else gap(arm.gap)
    return f"{speed_cell(arm)}{speed_doubt}<br>{points} points{accuracy_doubt}"


def speed_cell(arm: ArmSummary) -> str:
    """Where an arm stands in speed, in a word or two and a number."""
    side = speed_side(arm)
    if side in _WORDS:
        text = f"{_WORDS[side]} {ratio(arm.speedups[HEADLINE])}"
        return f"**{text}**" if side in ("better", "worse") else text
    found = arm.speedups.get(HEADLINE)
    if found is None:
        return NONE
    whose = "uniform seldom got there" if side == "unset" else "did not get there"
    return f"{whose} ({found.reach.reached} of {found.reach.runs})"


ACROSS = ("sampler", "interquartile mean accuracy, %", "probability of improvement", "profile score")
"""Columns of the table over all scenarios, before those of the profile."""


def across_rows(summary: StudySummary) -> list[list[str]]:
    """Headers, then every sampler over all scenarios; [] below two scenarios."""
    rows = [_across(one, summary.baseline) for one in summary.across]
    return [[*ACROSS, *(f"within {limit:g}×" for limit in RATIOS)], *rows] if rows else []


def across_table(summary: StudySummary) -> str:
    """The same as Markdown; '' below two scenarios."""
    rows = across_rows(summary)
    return table(rows[0], rows[1:]) if rows else ""


def _across(one: Across, baseline: str | None) -> list[str]:
    mean = one.accuracy
    told = NONE if mean is None else f"{100 * mean.value:.2f}" + _percent_ends(mean.interval)
    better = share(one.improvement and one.improvement.value, one.improvement and one.improvement.interval)
    profile = one.profile or (None,) * len(RATIOS)
    return [
        escape(one.sampler),
        told,
        "baseline" if one.sampler == baseline else better,
        NONE if one.score is None else f"{one.score:.2f}",
        *(NONE if value is None else f"{100 * value:.0f} %" for value in profile),
    ]


def _percent_ends(ends: Interval | None) -> str:
    return interval(ends and Interval(100 * ends.low, 100 * ends.high), ".2f")
