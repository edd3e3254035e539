"""What the numbers say in plain words. Every sentence is derived; none is typed by hand, so none can be hoped for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.intervals import FEWEST_PAIRS
from robuststream.evidence.speedup import HEADLINE, SHARES
from robuststream.evidence.summary import ScenarioSummary, StudySummary
from robuststream.reporting.markdown import escape, gap, interval, p_value, ratio
from robuststream.reporting.sides import CLAIM_PAIRS, Side, accuracy_side, speed_side
from robuststream.reporting.strength import choices, strength
from robuststream.reporting.words import listed

RUNG = HEADLINE[0]

GAIN = f"{100 * SHARES[RUNG]:.0f} % of uniform's gain"

_NAMED = 4
"""So many scenarios are called by their names; of more a sentence gives the count, and the table beside it the rest."""

Judged = Sequence[tuple[ScenarioSummary, ArmSummary]]
"""One sampler in every scenario that has a target."""

Arms = Mapping[str, Judged]
"""Sampler -> where it is judged."""


def verdicts(summary: StudySummary) -> list[str]:
    """The whole study in a few sentences: who is faster, who is not, who ends more or less accurate, what the seeds can carry.

    "Less compute" and "more accurate" are said of claims alone (`sides`); what is merely reported is called so.
    """
    if summary.baseline is None:
        return [_NO_BASELINE]
    arms = _judged(summary)
    if arms is None:
        return ["Uniform has no finished run yet, so nothing can be compared with it."]
    if not any(arm.gap for judged in arms.values() for _, arm in judged):
        return ["No other sampler has a finished run yet, so there is nothing to compare with uniform."]
    winners = [label for label, judged in arms.items() if any(speed_side(arm) == "better" for _, arm in judged)]
    lines = [_winner(label, arms[label]) for label in winners] or [_nobody(arms)]
    lines += [*_speed_groups(arms, summary.depth[0] < FEWEST_PAIRS), *_accuracy(arms)]
    return [*lines, *choices(summary), strength(summary)]


def _judged(summary: StudySummary) -> Arms | None:
    """Sampler -> its scenarios with a target; None where there is no such scenario."""
    scenarios = [scenario for scenario in summary.scenarios if scenario.ladder]
    labels = [arm.sampler for arm in scenarios[0].arms if arm.sampler != summary.baseline] if scenarios else []
    found = {label: [(s, arm) for s in scenarios for arm in s.arms if arm.sampler == label] for label in labels}
    return found if scenarios else None


def _winner(label: str, judged: Judged) -> str:
    """One sentence on where a sampler is faster and by how much, one on where it is not, one on what it costs in accuracy."""
    better = [(s, arm) for s, arm in judged if speed_side(arm) == "better"]
    told = [f"{_fast(arm)}{_in([s], judged)}" for s, arm in better]
    text = f"**{escape(label)} reaches {GAIN} with less compute than uniform:** {listed(told)}."
    others = [
        f"{words}{_in(where, judged)}"
        for sides, words in _ELSEWHERE.items()
        if (where := [s for s, arm in judged if speed_side(arm) in sides])
    ]
    text += f" Elsewhere: {'; '.join(others)}." if others else ""
    for side, words in (
        ("better", "It ends more accurate"),
        ("worse", "It ends less accurate"),
        ("down", "Reported less accurate"),
    ):
        told = [f"{_points(arm)}{_in([s], judged)}" for s, arm in judged if accuracy_side(arm) == side]
        text += f" {words}: {listed(told)}." if told else ""
    if all(accuracy_side(arm) in ("open", "none") for _, arm in judged):
        text += " No difference in accuracy is shown."
    return text


def _fast(arm: ArmSummary) -> str:
    found = arm.speedups[HEADLINE]
    assert found.ratio is not None  # only arms with an interval come here
    return f"{found.ratio.value:.2f}× as fast{interval(found.ratio.interval, '.2f')}{_p(found.p, arm)}"


def _points(arm: ArmSummary) -> str:
    return f"{gap(arm.gap)} points{_p(arm.gap and arm.gap.p, arm)}"


_ELSEWHERE: dict[tuple[Side, ...], str] = {
    ("up",): "ahead, but not to be claimed",
    ("open",): "no difference shown",
    ("down",): "behind, but not to be claimed",
    ("worse",): "slower",
    ("ahead", "behind"): "too few pairs for an interval",
    ("rare",): "most of its runs did not get there",
    ("unset",): "most of uniform's own runs did not get there",
}


def _nobody(arms: Arms) -> str:
    """No sampler is faster, and whether that is a finding or a lack of evidence."""
    sides = {speed_side(arm) for judged in arms.values() for _, arm in judged} - {"none"}
    if sides == {"unset"}:
        return f"**Nothing can be said of speed:** most of uniform's own runs did not reach {GAIN} and stay there."
    if sides == {"rare"}:
        return f"**No other sampler reached {GAIN}** in at least half of its runs."
    if "up" in sides:
        return f"**No sampler may be claimed to reach {GAIN} with less compute than uniform.**"
    return f"**No sampler was shown to reach {GAIN} with less compute than uniform.**"


def _speed_groups(arms: Arms, indicative: bool) -> list[str]:
    """Who was slower and who did not get there; where no seeds carry an interval, what was measured."""
    lines = [
        ("**Reported, not claimed, to be ahead in compute**", _told(arms, "up")),
        ("Slower than uniform", _grouped(arms, speed_side, "worse")),
        ("Reported, not claimed, to be slower than uniform", _grouped(arms, speed_side, "down")),
        (f"Most runs did not get to {GAIN}", _grouped(arms, speed_side, "rare")),
    ]
    if indicative:
        measured = [told for label, judged in arms.items() for told in _measured(label, judged)]
        lines.append(("Speed as measured, without intervals", listed(measured)))
    return [f"{title}: {text}." for title, text in lines if text]


def _measured(label: str, judged: Judged) -> list[str]:
    """'plb 0.72x in clean', for every scenario; of many scenarios the range: 'plb 0.27x to 1.00x in 8 of 10 scenarios'."""
    found = [(s, arm.speedups[HEADLINE]) for s, arm in judged if speed_side(arm) in ("ahead", "behind")]
    if len(found) <= _NAMED:
        return [f"{escape(label)} {ratio(one)}{_in([s], judged)}" for s, one in found]
    values = [one.ratio.value for _, one in found if one.ratio is not None]
    return [f"{escape(label)} {min(values):.2f}× to {max(values):.2f}×{_in([s for s, _ in found], judged)}"]


def _told(arms: Arms, side: Side) -> str:
    """Every sampler on a side of speed with its number: 'a 1.10x [1.02, 1.19] in clean and b ...'."""
    found = [
        f"{escape(label)} {ratio(arm.speedups[HEADLINE])}{_p(arm.speedups[HEADLINE].p, arm)}{_in([s], judged)}"
        for label, judged in arms.items()
        for s, arm in judged
        if speed_side(arm) == side
    ]
    return listed(found)


def _accuracy(arms: Arms) -> list[str]:
    """Who ended above and below uniform in test accuracy: claimed, then reported."""
    found = {side: _grouped(arms, accuracy_side, side) for side in ("better", "worse", "up", "down", "open", "ahead", "behind")}
    if not any(found[side] for side in ("better", "worse", "up", "down", "open")):
        ahead, behind = found["ahead"] or "nobody", found["behind"] or "nobody"
        return [f"Test accuracy at the end, as measured: above uniform: {ahead}; not above: {behind}."]
    lines = []
    if found["better"] or found["worse"]:
        above, below = found["better"] or "nobody", found["worse"] or "nobody"
        lines.append(f"**Test accuracy at the end:** above uniform: {above}; below: {below}.")
    if found["up"] or found["down"]:
        above, below = found["up"] or "nobody", found["down"] or "nobody"
        lines.append(f"Test accuracy, reported and not claimed: above uniform: {above}; below: {below}.")
    return lines or ["**Test accuracy at the end:** no difference from uniform shown for any sampler."]


def _grouped(arms: Arms, side: Callable[[ArmSummary], Side], wanted: Side) -> str:
    """The samplers on one side, those with the same scenarios together: 'a and b everywhere; c in noisy'."""
    groups: dict[tuple[int, str], list[str]] = {}
    for label, judged in arms.items():
        where = [s for s, arm in judged if side(arm) == wanted]
        if where:
            groups.setdefault((-len(where), _in(where, judged, "everywhere")), []).append(escape(label))
    widest_first = sorted(groups.items(), key=lambda group: group[0][0])
    return "; ".join(f"{listed(labels)}{place}" for (_, place), labels in widest_first)


def _in(where: Sequence[ScenarioSummary], judged: Judged, everywhere: str = "in every scenario") -> str:
    """' in clean and noisy'; nothing where the study has one scenario."""
    if len(judged) == 1:
        return ""
    if len(where) == len(judged):
        return f" {everywhere}"
    if len(where) > _NAMED:
        return f" in {len(where)} of {len(judged)} scenarios"
    return f" in {listed([escape(scenario.scenario) for scenario in where])}"


_NO_BASELINE = (
    "This study has no sampler of kind `uniform`. Targets and speed-ups are measured against uniform shuffling (rule 5), so "
    "none are printed; accuracies and diagnostics stand by themselves."
)


def _p(p: float | None, arm: ArmSummary) -> str:
    """Beside a difference from as many seeds as a claim needs; with fewer no p can be small, and it would only confuse."""
    return f" (p {p_value(p)})" if p is not None and arm.finished >= CLAIM_PAIRS else ""
