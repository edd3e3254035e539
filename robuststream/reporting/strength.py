"""What a study can carry: whether choosing mattered at all (rule 9), and what so many seeds allow to be said (rule 6)."""

from __future__ import annotations

from robuststream.evidence.intervals import FEWEST_PAIRS
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.markdown import escape, p_value
from robuststream.reporting.sides import ALPHA, CLAIM_PAIRS, Side, placebo_accuracy_side, placebo_speed_side
from robuststream.reporting.words import listed


def choices(summary: StudySummary) -> list[str]:
    """Who is better than chance at choosing, in accuracy or in compute (rule 9)."""
    if not summary.placebos:
        return []
    sides: dict[str, list[str]] = {}
    for one in summary.placebos:
        for side in {placebo_accuracy_side(one), placebo_speed_side(one)}:
            sides.setdefault(side, []).append(f"{escape(one.sampler)} in {escape(one.scenario)}")
    told = [f"{words}: {listed(sides[side])}" for side, words in _CHOOSING.items() if side in sides]
    if not told:
        return ["**Against their placebos** (the same shares, chosen at random) no sampler's choice was shown to matter."]
    return [f"**Against their placebos** (the same shares, chosen at random), in accuracy or compute: {'; '.join(told)}."]


_CHOOSING: dict[Side, str] = {
    "better": "choosing helps",
    "worse": "choosing harms",
    "up": "reported, not claimed, to help",
    "down": "reported, not claimed, to harm",
}


def strength(summary: StudySummary) -> str:
    """What so many seeds can carry (rule 6)."""
    seeds = summary.depth[0]
    if seeds < FEWEST_PAIRS:
        return f"**{seeds} {'seed' if seeds == 1 else 'seeds'}: indicative only.** Below {FEWEST_PAIRS} no interval is printed."
    if seeds < CLAIM_PAIRS:
        return (
            f"**{seeds} seeds: reported, not claimed.** An interval can be given; a claim asks for {CLAIM_PAIRS} "
            f"(the smallest p that {seeds} seeds can give is {p_value(2 / 2.0**seeds)})."
        )
    arms = max(sum(arm.gap is not None for arm in scenario.arms) for scenario in summary.scenarios)
    least = min(1.0, arms * 2 * 2.0**-seeds)
    if least >= ALPHA:
        return (
            f"**{seeds} seeds: too few to claim anything of {arms} arms.** The smallest p that they can give, adjusted for so "
            f"many, is {p_value(least)}; {_seeds_for(arms)} seeds would do."
        )
    return f"**{seeds} seeds: enough for a claim** where the interval excludes no difference and the adjusted p is below .05."


def _seeds_for(arms: int) -> int:
    """The fewest seeds at which the smallest sign-flip p, times so many arms, is below .05."""
    return next(n for n in range(CLAIM_PAIRS, 64) if arms * 2 / 2.0**n < ALPHA)
