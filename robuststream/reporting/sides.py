"""On which side of uniform an arm stands, and how much may be said of it (rule 6): the only place where a claim is granted."""

from __future__ import annotations

from typing import Literal

from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.compare import Compared
from robuststream.evidence.intervals import FEWEST_PAIRS, Interval
from robuststream.evidence.speedup import HEADLINE

CLAIM_PAIRS = 10
"""From so many paired seeds on a difference may be claimed (rule 6)."""

ALPHA = 0.05
"""A claim asks for a smaller p, after Holm over the arms."""

Side = Literal["better", "worse", "up", "down", "open", "ahead", "behind", "rare", "unset", "none"]
"""'better' and 'worse' are claims: at least 10 pairs, an interval without 'no difference', and p < .05 after Holm over the arms.
'up' and 'down' are reported only: such an interval, and too few pairs or too large a p for a claim. 'open': no difference
shown. Without an interval 'ahead' or 'behind'; 'rare': it seldom reached the target; 'unset': uniform seldom did; 'none':
nothing to compare."""


def speed_side(arm: ArmSummary) -> Side:
    """In charged FLOPs to T95."""
    found = arm.speedups.get(HEADLINE)
    if found is None:
        return "none"
    if found.ratio is None:
        return "unset" if found.reach.enough else "rare"
    return judge(found.ratio.value, found.ratio.interval, 1.0, found.ratio.pairs, found.p)


def accuracy_side(arm: ArmSummary) -> Side:
    """In test accuracy at the last step."""
    return "none" if arm.gap is None else judge(arm.gap.points, arm.gap.interval, 0.0, arm.gap.pairs, arm.gap.p)


def placebo_speed_side(found: Compared) -> Side:
    """A selector against its placebo, in charged FLOPs to T95."""
    if found.speed is None or found.speed.ratio is None:
        return "none"
    return judge(found.speed.ratio.value, found.speed.ratio.interval, 1.0, found.speed.ratio.pairs, found.speed.p)


def placebo_accuracy_side(found: Compared) -> Side:
    """A selector against its placebo, in test accuracy at the last step."""
    gap = found.gap
    return "none" if gap is None else judge(gap.points, gap.interval, 0.0, gap.pairs, gap.p)


def judge(value: float, ends: Interval | None, none: float, pairs: int, p: float | None) -> Side:
    """An estimate against `none`, the value of no difference; p is adjusted already."""
    if ends is None or pairs < FEWEST_PAIRS:
        return "ahead" if value > none else "behind"
    if ends.low <= none <= ends.high:
        return "open"
    above = ends.low > none
    if pairs >= CLAIM_PAIRS and p is not None and p < ALPHA:
        return "better" if above else "worse"
    return "up" if above else "down"
