"""Tables of two comparisons that not every study has: with placebos (rule 9), and between budgets."""

from __future__ import annotations

from robuststream.evidence.compare import Compared
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.evidence.tradeoff import Point, Tradeoff
from robuststream.reporting.markdown import NONE, accuracy, escape, gap, p_value, ratio, table
from robuststream.reporting.sides import Side, placebo_accuracy_side, placebo_speed_side

PLACEBO_CAPTION = (
    "*A placebo is the sampler itself on signals that are dealt at random among the examples of every pass: it hides, skips or "
    "keeps the same shares at the same price, and only who is chosen is chance. Gap: the sampler's test accuracy less its "
    f"placebo's; speed-up: the placebo's cost over the sampler's, in charged FLOPs to {HEADLINE[0]}. Paired by seed with 95 % "
    "intervals; p by sign-flip test, adjusted by Holm for the rows. **Bold** is a claim: at least 10 pairs, an interval without "
    "'no difference', and p < .05. What a sampler does no better than its placebo is not the merit of its choice.*"
)

TRADEOFF_CAPTION = (
    "*Test accuracy at the last step, mean ± standard deviation over seeds, by budget. Every budget is trained anew with its own "
    "learning rate, decayed to its end, so no column is a part of another. In parentheses: points above uniform at the same "
    "budget, paired by seed, with 95 % intervals. **Bold**: no sampler has a higher mean at this budget or below it (the Pareto "
    "front of the means).*"
)

Rows = list[list[str]]
"""Headers, then a row each, in Markdown; [] where the study has no such comparison."""

_CLAIMS: tuple[Side, ...] = ("better", "worse")


def placebo_rows(summary: StudySummary) -> Rows:
    """Every selector beside its placebo, in every scenario."""
    headers = ["scenario", "sampler", "sampler, %", "placebo, %", "gap, points", "p", f"speed-up to {HEADLINE[0]}, FLOPs", "p"]
    rows = [_placebo(one) for one in summary.placebos]
    return [[*headers, "pairs"], *rows] if rows else []


def _placebo(one: Compared) -> list[str]:
    return [
        escape(one.scenario),
        escape(one.sampler),
        accuracy(one.second),
        accuracy(one.first),
        _bold(gap(one.gap), placebo_accuracy_side(one)),
        p_value(one.gap.p if one.gap else None),
        _bold(ratio(one.speed), placebo_speed_side(one)),
        p_value(one.speed.p if one.speed else None),
        str(one.gap.pairs if one.gap else 0),
    ]


def _bold(text: str, side: Side) -> str:
    return f"**{text}**" if side in _CLAIMS else text


def tradeoff_rows(summary: StudySummary, unit: str) -> Rows:
    """One row per scenario and sampler, one column per budget (in `unit`)."""
    amounts = sorted({point.amount for curve in summary.tradeoffs for point in curve.points})
    rows = [_tradeoff(curve, amounts) for curve in summary.tradeoffs]
    return [["scenario", "sampler", *(f"{amount:g} {escape(unit)}" for amount in amounts)], *rows] if rows else []


def _tradeoff(curve: Tradeoff, amounts: list[float]) -> list[str]:
    by_amount = {point.amount: point for point in curve.points}
    cells = [_point(by_amount[amount]) if amount in by_amount else NONE for amount in amounts]
    return [escape(curve.scenario), escape(curve.sampler), *cells]


def _point(point: Point) -> str:
    told = accuracy(point.accuracy)
    told = f"**{told}**" if point.best else told
    return told + (f" ({gap(point.gap)})" if point.gap else "")


def as_table(rows: Rows) -> str:
    """As Markdown; '' of no rows."""
    return table(rows[0], rows[1:], left=2) if rows else ""
