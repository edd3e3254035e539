"""What the numbers say in plain words. Every sentence is derived; none is typed by hand, so none can be hoped for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robuststream.evidence.intervals import FEWEST_PAIRS
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import ArmSummary, ScenarioSummary, StudySummary
from robuststream.reporting.markdown import escape, gap, p_value, ratio

CLAIM_PAIRS = 10
"""From so many paired seeds on a difference may be claimed (rule 6)."""

RUNG = HEADLINE[0]

Side = str
"""'better', 'worse', 'open' (no difference shown), without an interval 'ahead' or 'behind', 'rare' (it seldom reached the
target), 'unset' (uniform seldom did), or 'none' (nothing to compare)."""


def speed_side(arm: ArmSummary) -> Side:
    """Where an arm stands in charged FLOPs to T95."""
    found = arm.speedups.get(HEADLINE)
    if found is None:
        return "none"
    if found.ratio is None:
        return "unset" if found.reach.enough else "rare"
    ends = found.ratio.interval
    if ends is None:
        return "ahead" if found.ratio.value > 1 else "behind"
    return "better" if ends.low > 1 else "worse" if ends.high < 1 else "open"


def accuracy_side(arm: ArmSummary) -> Side:
    """Where an arm stands in test accuracy at the last step."""
    if arm.gap is None:
        return "none"
    ends = arm.gap.interval
    if ends is None:
        return "ahead" if arm.gap.points > 0 else "behind"
    return "better" if ends.low > 0 else "worse" if ends.high < 0 else "open"


def verdicts(summary: StudySummary) -> list[str]:
    """The whole study in short: speed, accuracy, and what so many seeds can carry."""
    if summary.baseline is None:
        return [_NO_BASELINE]
    judged = [scenario for scenario in summary.scenarios if scenario.ladder]
    if not judged:
        return ["**In short:** uniform has no finished run yet, so nothing can be compared with it."]
    unreached = {"rare": "did not get there in most runs", "unset": "uniform's own runs seldom got there, so no speed-up"}
    speed = _in_short(judged, speed_side, _SPEED | unreached)
    accuracies = _in_short(judged, accuracy_side, _ACCURACY)
    return [
        f"**Compute (charged FLOPs) to {RUNG}:** {speed}.",
        f"**Test accuracy at the last step:** {accuracies}.",
        _strength(summary),
    ]


def scenario_verdicts(scenario: ScenarioSummary, summary: StudySummary) -> list[str]:
    """One scenario with its numbers: a line on speed and a line on accuracy, beside the table that they come from."""
    if summary.baseline is None:
        return []
    if scenario.ladder is None:
        return ["Uniform has no finished run here, so there is no target and no speed-up."]
    speed = _grouped(
        scenario,
        speed_side,
        lambda arm: f"{escape(arm.sampler)} {ratio(arm.speedups[HEADLINE])}{_p(arm.speedups[HEADLINE].p, arm)}",
        _SPEED,
    )
    rare = [f"{escape(arm.sampler)} ({_reached(arm)})" for arm in scenario.arms if speed_side(arm) == "rare"]
    if rare:
        speed.append(f"no speed-up, too few runs reached it: {', '.join(rare)}")
    if any(speed_side(arm) == "unset" for arm in scenario.arms):
        speed.append("no speed-up for anybody, since fewer than half of uniform's own runs reached it")
    accuracies = _grouped(
        scenario,
        accuracy_side,
        lambda arm: f"{escape(arm.sampler)} {gap(arm.gap)}{_p(arm.gap and arm.gap.p, arm)}",
        _ACCURACY,
    )
    target = f"{RUNG}, {100 * scenario.ladder.targets[RUNG]:.1f} % validation accuracy"
    lines = [f"Compute to {target}: {'; '.join(speed)}."] if speed else []
    return lines + ([f"Test accuracy, in points: {'; '.join(accuracies)}."] if accuracies else [])


_SPEED = {"better": "faster than uniform", "worse": "slower", "open": "no difference shown"} | {
    "ahead": "indicative, cheaper",
    "behind": "indicative, not cheaper",
}

_ACCURACY = {"better": "above uniform", "worse": "below", "open": "no difference shown"} | {
    "ahead": "indicative, above",
    "behind": "indicative, not above",
}

_NO_BASELINE = (
    "This study has no sampler of kind `uniform`. Targets and speed-ups are measured against uniform shuffling (rule 5), so "
    "none are printed; accuracies and diagnostics stand by themselves."
)


def _in_short(judged: Sequence[ScenarioSummary], side: Callable[[ArmSummary], Side], words: dict[Side, str]) -> str:
    """For every verdict the arms that earn it, and in how many scenarios."""
    sides: dict[str, list[Side]] = {}
    for scenario in judged:
        for arm in scenario.arms:
            sides.setdefault(arm.sampler, []).append(side(arm))
    told = []
    for key, word in words.items():
        counted = [(label, own.count(key)) for label, own in sides.items() if key in own]
        named = ", ".join(escape(label) + ("" if len(judged) == 1 else f" ({n} of {len(judged)})") for label, n in counted)
        if named:
            told.append(f"{word}: {named or 'none'}")
    if not told:
        return "no other sampler has a finished run"
    if len(judged) > 1:
        told[-1] += " (in parentheses: in how many scenarios)"
    return "; ".join(told)


def _strength(summary: StudySummary) -> str:
    """What so many seeds can carry (rule 6)."""
    seeds = summary.depth[0]
    if seeds < FEWEST_PAIRS:
        return f"**{seeds} {'seed' if seeds == 1 else 'seeds'}: indicative only.** Below {FEWEST_PAIRS} no interval is printed."
    if seeds < CLAIM_PAIRS:
        return (
            f"**{seeds} seeds: reported, not claimed.** An interval can be given; a claim asks for {CLAIM_PAIRS} "
            f"(the smallest p that {seeds} seeds can give is {2 / 2**seeds:.3f})."
        )
    return f"**{seeds} seeds: enough for a claim** where the interval excludes no difference and the adjusted p is below .05."


def _grouped(
    scenario: ScenarioSummary, side: Callable[[ArmSummary], Side], told: Callable[[ArmSummary], str], words: dict[Side, str]
) -> list[str]:
    groups = {word: [told(arm) for arm in scenario.arms if side(arm) == key] for key, word in words.items()}
    return [f"{word}: {', '.join(group)}" for word, group in groups.items() if group]


def _reached(arm: ArmSummary) -> str:
    found = arm.speedups[HEADLINE].reach
    return f"{found.reached} of {found.runs}"


def _p(p: float | None, arm: ArmSummary) -> str:
    """Beside a difference from as many seeds as a claim needs; with fewer no p can be small, and it would only confuse."""
    return f" (p {p_value(p)})" if p is not None and arm.finished >= CLAIM_PAIRS else ""
