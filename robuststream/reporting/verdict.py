"""What the numbers say in plain words. Every sentence is derived; none is typed by hand, so none can be hoped for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.intervals import FEWEST_PAIRS
from robuststream.evidence.speedup import HEADLINE, SHARES
from robuststream.evidence.summary import ScenarioSummary, StudySummary
from robuststream.reporting.markdown import escape, gap, interval, p_value, ratio
from robuststream.reporting.words import listed

CLAIM_PAIRS = 10
"""From so many paired seeds on a difference may be claimed (rule 6)."""

RUNG = HEADLINE[0]

GAIN = f"{100 * SHARES[RUNG]:.0f} % of uniform's gain"

Side = str
"""'better', 'worse', 'open' (no difference shown), without an interval 'ahead' or 'behind', 'rare' (it seldom reached the
target), 'unset' (uniform seldom did), or 'none' (nothing to compare)."""

Judged = Sequence[tuple[ScenarioSummary, ArmSummary]]
"""One sampler in every scenario that has a target."""

Arms = Mapping[str, Judged]
"""Sampler -> where it is judged."""


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
    """The whole study in a few sentences: who is faster, who is not, who ends more or less accurate, what the seeds can carry."""
    if summary.baseline is None:
        return [_NO_BASELINE]
    arms = _judged(summary)
    if arms is None:
        return ["Uniform has no finished run yet, so nothing can be compared with it."]
    if not any(arm.gap for judged in arms.values() for _, arm in judged):
        return ["No other sampler has a finished run yet, so there is nothing to compare with uniform."]
    winners = [label for label, judged in arms.items() if any(speed_side(arm) == "better" for _, arm in judged)]
    lines = [_winner(label, arms[label]) for label in winners] or [_nobody(arms)]
    return [*lines, *_speed_groups(arms, summary.depth[0] < FEWEST_PAIRS), _accuracy(arms), _strength(summary)]


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
    for side, words in (("better", "more"), ("worse", "less")):
        told = [f"{_points(arm)}{_in([s], judged)}" for s, arm in judged if accuracy_side(arm) == side]
        text += f" It ends {words} accurate: {listed(told)}." if told else ""
    if not any(accuracy_side(arm) in ("better", "worse", "ahead", "behind") for _, arm in judged):
        text += " No difference in accuracy is shown."
    return text


def _fast(arm: ArmSummary) -> str:
    found = arm.speedups[HEADLINE]
    assert found.ratio is not None  # only arms with an interval come here
    return f"{found.ratio.value:.2f}× as fast{interval(found.ratio.interval, '.2f')}{_p(found.p, arm)}"


def _points(arm: ArmSummary) -> str:
    return f"{gap(arm.gap)} points{_p(arm.gap and arm.gap.p, arm)}"


_ELSEWHERE: dict[tuple[Side, ...], str] = {
    ("open",): "no difference shown",
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
    return f"**No sampler was shown to reach {GAIN} with less compute than uniform.**"


def _speed_groups(arms: Arms, indicative: bool) -> list[str]:
    """Who was slower and who did not get there; where no seeds carry an interval, what was measured."""
    lines = [
        ("Slower than uniform", _grouped(arms, speed_side, "worse")),
        (f"Most runs did not get to {GAIN}", _grouped(arms, speed_side, "rare")),
    ]
    if indicative:
        measured = [
            f"{escape(label)} {ratio(arm.speedups[HEADLINE])}{_in([s], judged)}"
            for label, judged in arms.items()
            for s, arm in judged
            if speed_side(arm) in ("ahead", "behind")
        ]
        lines.append(("Speed as measured, without intervals", listed(measured)))
    return [f"{title}: {text}." for title, text in lines if text]


def _accuracy(arms: Arms) -> str:
    """Who ended above and below uniform in test accuracy."""
    above, below, level = (_grouped(arms, accuracy_side, side) for side in ("better", "worse", "open"))
    if not (above or below or level):
        ahead, behind = (_grouped(arms, accuracy_side, side) for side in ("ahead", "behind"))
        return f"Test accuracy at the end, as measured: above uniform: {ahead or 'nobody'}; not above: {behind or 'nobody'}."
    if not (above or below):
        return "**Test accuracy at the end:** no difference from uniform shown for any sampler."
    return f"**Test accuracy at the end:** above uniform: {above or 'nobody'}; below: {below or 'nobody'}."


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
    return f" in {listed([escape(scenario.scenario) for scenario in where])}"


_NO_BASELINE = (
    "This study has no sampler of kind `uniform`. Targets and speed-ups are measured against uniform shuffling (rule 5), so "
    "none are printed; accuracies and diagnostics stand by themselves."
)


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


def _p(p: float | None, arm: ArmSummary) -> str:
    """Beside a difference from as many seeds as a claim needs; with fewer no p can be small, and it would only confuse."""
    return f" (p {p_value(p)})" if p is not None and arm.finished >= CLAIM_PAIRS else ""
