"""The tables of a report, each as Markdown, from a summary alone."""

from __future__ import annotations

from collections.abc import Sequence

from robuststream.evidence.arms import DIAGNOSTICS, ArmSummary, Spread
from robuststream.evidence.costs import FORWARDS, PHASES
from robuststream.evidence.flags import Flag, Place
from robuststream.evidence.speedup import CURRENCIES, HEADLINE, SHARES, Reach
from robuststream.evidence.summary import ScenarioSummary, StudySummary
from robuststream.reporting.markdown import (
    NONE,
    accuracy,
    escape,
    gap,
    mean_cost,
    median,
    p_value,
    percent,
    quantity,
    ratio,
    reached,
    table,
)

RUNG = HEADLINE[0]

AMORTISED = "amortised"
"""Marks a line that leaves out what a sampler's companion networks cost, as if somebody else had trained them (rule 2)."""


def marks(flags: Sequence[Flag], what: str, scenario: str, sampler: str) -> str:
    """' ⚑1' for each flag that casts doubt on this number of this cell."""
    return "".join(f" ⚑{number}" for number in doubts(flags, what, scenario, sampler))


def doubts(flags: Sequence[Flag], what: str, scenario: str, sampler: str) -> list[int]:
    """Numbers of the flags that doubt this number of this cell; flags on everything are told once, above."""
    hit = {Place(a, b) for a in (scenario, None) for b in (sampler, None)}
    return [number for number, flag in enumerate(flags, 1) if flag.doubts == what and hit & set(flag.where)]


def main_table(scenario: ScenarioSummary, summary: StudySummary) -> str:
    """Who ended where, and what it cost to get there."""

    def row(arm: ArmSummary) -> list[str]:
        at = (scenario.scenario, arm.sampler)
        if not arm.finished:
            return [escape(arm.sampler), _runs(arm), *[NONE] * 4]
        base = arm.sampler == summary.baseline
        doubt = marks(summary.flags, "accuracy", *at)
        speed = marks(summary.flags, "speed-up", *at)
        if base:
            return [
                escape(arm.sampler),
                _runs(arm),
                accuracy(arm.last_test) + doubt,
                "baseline",
                f"1{speed}",
                reached(arm.reach.get(RUNG)),
            ]
        return [
            escape(arm.sampler),
            _runs(arm),
            accuracy(arm.last_test) + doubt,
            gap(arm.gap),
            _with(ratio(arm.speedups.get(HEADLINE)), speed),
            reached(arm.reach.get(RUNG)),
        ]

    headers = ["sampler", "runs", "test accuracy, %", "gap to uniform, points", f"speed-up to {RUNG}, FLOPs", f"reached {RUNG}"]
    return table(headers, [row(arm) for arm in scenario.arms])


def speedup_table(scenario: ScenarioSummary, summary: StudySummary) -> str:
    """Four currencies by four rungs for every arm but the baseline."""
    rows = []
    for arm in scenario.arms:
        at = (scenario.scenario, arm.sampler)
        for rung in SHARES if arm.speedups else ():
            found = [arm.speedups[rung, currency] for currency in CURRENCIES]
            cells = [
                _with(ratio(one), marks(summary.flags, "seconds", *at) if one.currency == "seconds" else "") for one in found
            ]
            pairs = found[0].ratio.pairs if found[0].ratio else 0
            p = p_value(arm.speedups[rung, "flops"].p)
            cells += [
                p,
                str(pairs),
                reached(arm.reach.get(rung)),
                median(arm.medians.get(rung)),
                mean_cost(arm.restricted.get(rung)),
            ]
            rows.append([escape(arm.sampler), rung, *cells])
        for rung, one in arm.amortised.items():
            told = [ratio(one) if currency == "flops" else NONE for currency in CURRENCIES]
            pairs = str(one.ratio.pairs) if one.ratio else "0"
            rows.append([f"{escape(arm.sampler)}, {AMORTISED}", rung, *told, NONE, pairs, reached(one.reach), NONE, NONE])
    headers = ["sampler", "target", *CURRENCIES.values(), "p (FLOPs)", "pairs", "reached", "median ratio, FLOPs", "mean cost"]
    return table(headers, rows, left=2) if rows else ""


def ladder_table(summary: StudySummary) -> str:
    """The accuracies that were timed, one line per scenario."""
    rows = []
    for scenario in summary.scenarios:
        rungs = scenario.ladder
        if rungs is not None:
            uniform = next(arm for arm in scenario.arms if arm.sampler == summary.baseline)
            told = [f"{percent(target, 2)} ({_count(uniform.reach[rung])})" for rung, target in rungs.targets.items()]
            rows.append([escape(scenario.scenario), percent(rungs.chance), *told])
    return table(["scenario", "chance", *SHARES], rows) if rows else ""


def accuracy_table(scenario: ScenarioSummary, summary: StudySummary) -> str:
    """Last step and validation-best step."""
    rows = [
        [
            escape(arm.sampler),
            accuracy(arm.last_test),
            accuracy(arm.best_test),
            accuracy(arm.last_validation),
            "baseline" if arm.sampler == summary.baseline else gap(arm.gap),
            p_value(arm.gap.p if arm.gap else None),
        ]
        for arm in scenario.arms
    ]
    headers = ["sampler", "test, last step", "test, validation-best step", "validation, last step", "gap, points", "p"]
    return table(headers, rows)


def figures_table(scenario: ScenarioSummary) -> str:
    """The scenario's own figures, a row for each, since there may be many; '' where it has none."""
    names = dict.fromkeys(name for arm in scenario.arms for name in arm.figures)
    rows = []
    for name in names:
        found = [arm.figures.get(name) for arm in scenario.arms]
        share = all(0.0 <= one.mean <= 1.0 for one in found if one)
        rows.append([escape(name), *(accuracy(one) if share else _figure(one) for one in found)])
    return table(["figure", *(escape(arm.sampler) for arm in scenario.arms)], rows) if rows else ""


def drawn_table(summary: StudySummary) -> str:
    """What each arm drew and what it knew, at the last evaluation."""
    rows = []
    for scenario in summary.scenarios:
        for arm in scenario.arms:
            seen = arm.diagnostics
            plain = [_number(seen["enrichment"], ".2f"), *(percent(_mean(seen[key])) for key in DIAGNOSTICS[1:5])]
            plain += [_number(seen["age"], ".0f"), percent(_mean(seen["concordance"]))]
            rows.append([escape(scenario.scenario), escape(arm.sampler), *plain])
    return table(["scenario", "sampler", *_DRAWN], rows, left=2)


_DRAWN = ("enrichment", "wrong drawn", "memorised", "coverage", "ESS", "age, steps", "concordance")


def cost_table(summary: StudySummary) -> str:
    """What was charged, in examples, FLOPs and seconds; means over runs. Companion networks have a column where any has one."""
    rows = []
    companions = has_companions(summary)
    for scenario in summary.scenarios:
        for arm in scenario.arms:
            if (costs := arm.costs) is None:
                continue
            doubt = marks(summary.flags, "seconds", scenario.scenario, arm.sampler)
            each = None if costs.seconds_per_step is None else 1000 * costs.seconds_per_step
            amounts = [costs.steps, costs.backwards, *(costs.forwards[kind] for kind in FORWARDS)]
            overhead = NONE if costs.overhead is None else f"{costs.overhead:.2f}"
            seconds = [quantity(costs.seconds) + doubt, quantity(each), quantity(costs.evaluation), quantity(costs.compile)]
            own = [quantity(costs.auxiliary_flops) if costs.auxiliary_flops else NONE] if companions else []
            cells = [*map(quantity, amounts), overhead, quantity(costs.flops), *own, *seconds]
            rows.append([escape(scenario.scenario), escape(arm.sampler), *cells])
            if costs.auxiliary_flops:
                spared = [*[NONE] * 6, quantity(costs.flops - costs.auxiliary_flops), *[NONE] * 5]
                rows.append([escape(scenario.scenario), f"{escape(arm.sampler)}, {AMORTISED}", *spared])
    forwards = [f"forwards: {kind}" for kind in FORWARDS]
    headers = ["scenario", "sampler", "steps", "backwards", *forwards, "forwards per backward", "FLOPs"]
    headers += ["of these, companions"] * companions
    return table([*headers, "seconds", "ms per step", "evaluation, s", "compile, s"], rows, left=2)


def has_companions(summary: StudySummary) -> bool:
    """Whether any sampler trains or asks an auxiliary network."""
    return any(arm.costs and arm.costs.auxiliary_flops for scenario in summary.scenarios for arm in scenario.arms)


def phase_table(summary: StudySummary) -> str:
    """Where the seconds on the clock went, as shares of them."""
    rows = [
        [escape(scenario.scenario), escape(arm.sampler), *(percent(arm.costs.phases.get(phase), 0) for phase in PHASES)]
        for scenario in summary.scenarios
        for arm in scenario.arms
        if arm.costs is not None
    ]
    return table(["scenario", "sampler", *PHASES], rows, left=2)


def counter_table(summary: StudySummary) -> str:
    """Events that samplers counted, summed over their runs; '' where none did."""
    rows = [
        [escape(scenario.scenario), escape(arm.sampler), escape(name), f"{count:,}".replace(",", " ")]
        for scenario in summary.scenarios
        for arm in scenario.arms
        for name, count in arm.counters.items()
    ]
    return table(["scenario", "sampler", "counter", "sum over runs"], rows, left=3) if rows else ""


def _runs(arm: ArmSummary) -> str:
    count = f"{arm.finished}" if arm.finished == arm.planned else f"{arm.finished} of {arm.planned}"
    return f"{count} ({arm.diverged} diverged)" if arm.diverged else count


def _count(found: Reach) -> str:
    return f"{found.reached} of {found.runs}"


def _with(cell: str, mark: str) -> str:
    return cell if cell == NONE else cell + mark


def _mean(found: Spread | None) -> float | None:
    return None if found is None else found.mean


def _number(found: Spread | None, form: str) -> str:
    return NONE if found is None else f"{found.mean:{form}}"


def _figure(found: Spread | None) -> str:
    if found is None:
        return NONE
    return f"{found.mean:.4g}" + ("" if found.sd is None else f" ± {found.sd:.2g}")
