"""Numbers and names as Markdown: one way to print each, one way to make a foreign string harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from robuststream.errors import printable
from robuststream.evidence.arms import Gap, Spread
from robuststream.evidence.censored import MedianRatio, Restricted
from robuststream.evidence.intervals import FEWEST_PAIRS, Interval
from robuststream.evidence.speedup import Reach, SpeedUp

NONE = "–"
"""Printed where a figure does not exist."""

_SPECIAL = re.compile(r"[&<>|\\`*\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape(value: Any) -> str:
    """A name or value that shows as itself in text and in a table's cell: no markup, no column break, no line break."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", printable(value))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are set left, the others right. Cells are Markdown already."""
    rule = [":--" if place < left else "--:" for place in range(len(headers))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as '12.3 %'."""
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def quantity(value: float | None) -> str:
    """A count or an amount of any size: '0.485', '49.9', '9 677', '3.1e9'; a dash where it is no number."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= 1e6:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def accuracy(spread: Spread | None, digits: int = 2) -> str:
    """Mean +- sd over seeds, in per cent."""
    if spread is None:
        return NONE
    sd = "" if spread.sd is None else f" ± {100 * spread.sd:.{digits}f}"
    return f"{100 * spread.mean:.{digits}f}{sd}"


def interval(ends: Interval | None, form: str) -> str:
    """' [low, high]' after an estimate; nothing where there is no interval."""
    return "" if ends is None else f" [{ends.low:{form}}, {ends.high:{form}}]"


def gap(found: Gap | None) -> str:
    """Points with sign."""
    return NONE if found is None else f"{found.points:+.2f}{interval(found.interval, '+.2f')}"


def ratio(found: SpeedUp | None) -> str:
    """A speed-up, or a dash where none may be printed."""
    if found is None or found.ratio is None:
        return NONE
    return f"{found.ratio.value:.2f}×{interval(found.ratio.interval, '.2f')}"


def median(found: MedianRatio | None) -> str:
    """A median ratio with misses infinite: '0', '∞' or a dash where nobody knows."""
    if found is None:
        return NONE
    value = NONE if found.value is None else f"{_ratio(found.value)}×"
    return value + (f" [{_ratio(found.interval.low)}, {_ratio(found.interval.high)}]" if found.interval else "")


def _ratio(value: float) -> str:
    return "∞" if value == math.inf else f"{value:.2f}" if value else "0"


def share(value: float | None, ends: Interval | None) -> str:
    """A share in [0, 1] with its interval, in per cent."""
    if value is None:
        return NONE
    return f"{100 * value:.1f} %" + (f" [{100 * ends.low:.1f}, {100 * ends.high:.1f}]" if ends else "")


def mean_cost(found: Restricted | None) -> str:
    """In per cent of the budget, misses counted as all of it."""
    return share(found and found.mean, found and found.interval)


def reached(found: Reach | None) -> str:
    """'4 of 5 (38–96 %)' with Wilson's interval; below 5 runs without, as for every other interval (rule 6)."""
    if found is None:
        return NONE
    ends = f" ({100 * found.interval.low:.0f}–{100 * found.interval.high:.0f} %)" if found.runs >= FEWEST_PAIRS else ""
    return f"{found.reached} of {found.runs}{ends}"


def p_value(p: float | None) -> str:
    if p is None:
        return NONE
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"
