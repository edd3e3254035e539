"""Robust accuracy in print: the lines of `attack` and the tables of a report. Absent where nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robuststream.evidence.intervals import FEWEST_PAIRS, wilson
from robuststream.evidence.robustness import ArmRobustness, Price, Robustness, Standing, prices, robustness
from robuststream.evidence.summary import StudySummary
from robuststream.records import RunRecords
from robuststream.reporting.markdown import NONE, accuracy, escape, gap, quantity, share, table
from robuststream.reporting.tables import marks

NAMES = {"fgsm": "FGSM", "pgd": "PGD-20", "apgd-ce": "APGD-CE", "square": "Square", "autoattack": "AutoAttack"}
"""As papers write them."""

CAPTION = (
    "*Accuracy on the test examples named above, in per cent, mean ± standard deviation over seeds, of the network after its "
    "last step. Attacks follow one another from left to right and each sees only what the earlier ones left, so a column is "
    "the worst case so far and the last one the worst case of all. Over examples: Wilson's 95 % interval at the mean, for "
    f"other examples and these networks; over seeds: Student's from {FEWEST_PAIRS} seeds up, for other seeds and these "
    "examples. The two answer different questions and are not joined. Gap: worst case less uniform's, paired by seed.*"
)

PRICE_CAPTION = (
    "*Charged compute for one trained example, in multiples of a plain training step's; attacks during training are in it, the "
    "measurement of robustness is not. The budget is the same everywhere, so a dearer scenario takes fewer steps.*"
)

GLOSSARY = {
    "robust accuracy": "share of test examples that stay correctly classified under every attack that was tried within the ball.",
    "eps": "radius of the ball around an image in which an attack may move each pixel (L-infinity), on a scale from 0 to 1.",
    "Pareto front": "the samplers that no other beats in speed-up and robust accuracy together.",
}


def told(found: dict[str, Any]) -> list[str]:
    """One measurement as lines for a terminal."""

    def line(name: str, count: int) -> str:
        ends = wilson(count, found["examples"])
        return f"{name + ':':<18}{100 * count / found['examples']:6.2f} % [{100 * ends.low:.2f}, {100 * ends.high:.2f}]"

    head = f"eps {found['eps']:.4g}, {found['examples']} of {found['of']} test examples, 95 % intervals over examples"
    lines = [head, line("clean", found["clean"])]
    lines += [line(f"after {NAMES.get(name, name)}", count) for name, count in found["attacks"].items()]
    return [*lines, *(f"warning, {flag['kind']}: {flag['detail']}" for flag in found["flags"])]


def section(summary: StudySummary, finished: Sequence[RunRecords]) -> dict[str, Any] | None:
    """The report's section on robustness; None where no run was attacked, in training or afterwards."""
    measured, priced = robustness(summary, finished), prices(summary, finished)
    if not measured and not any(price.perturb for price in priced):
        return None
    rows = [robust_rows(found, summary) for found in measured]
    return {
        "targets": [
            {"title": title_of(found), "rows": own, "table": table(own[0], own[1:], left=2)}
            for found, own in zip(measured, rows, strict=True)
        ],
        "caption": CAPTION if measured else "",
        "prices": price_table(priced),
        "price_caption": PRICE_CAPTION,
    }


def title_of(found: Robustness) -> str:
    """What was measured, so that two figures are not compared that do not compare."""
    at = found.target
    which = "all" if at.examples == at.of else f"{at.examples} evenly spaced of the"
    return f"eps {radius(at.eps)}, L-infinity, {which} {at.of} test examples (rows {at.subset})"


def radius(eps: float) -> str:
    """As the field writes a radius: in 255ths where it is one."""
    steps = eps * 255
    return f"{round(steps)}/255" if abs(steps - round(steps)) < 1e-6 and round(steps) else f"{eps:.4g}"


def robust_rows(found: Robustness, summary: StudySummary) -> list[list[str]]:
    """Headers, then clean and worst-case accuracy of every arm, after each attack and after all; cells are Markdown."""

    def row(arm: ArmRobustness) -> list[str]:
        doubt = marks(summary.flags, "robust accuracy", arm.scenario, arm.sampler)
        base = arm.sampler == summary.baseline
        return [
            escape(arm.scenario),
            escape(arm.sampler),
            accuracy(arm.clean.share),
            *(_after(arm.attacks.get(name), arm.clean.share.n) for name in found.attacks),
            f"**{accuracy(arm.worst.share)}**{doubt}",
            share(arm.worst.over_examples.low, None).removesuffix(" %") + " to " + share(arm.worst.over_examples.high, None),
            _ends(arm.worst),
            "baseline" if base else gap(arm.gap),
        ]

    names = [NAMES.get(name, escape(name)) for name in found.attacks]
    headers = ["scenario", "sampler", "clean", *names, "worst case", "over examples", "over seeds", "gap, points"]
    return [headers, *(row(arm) for arm in found.arms)]


def _after(one: Standing | None, runs: int) -> str:
    """With the number of runs where not all have the attack."""
    if one is None:
        return NONE
    return accuracy(one.share) + ("" if one.share.n == runs else f" (of {one.share.n} runs)")


def _ends(one: Standing) -> str:
    ends = one.over_seeds
    return NONE if ends is None else f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"


def price_table(priced: Sequence[Price]) -> str:
    rows = [
        [escape(one.scenario), escape(one.sampler), f"{one.per_example:.2f}×", f"{one.perturb:.2f}", quantity(one.steps)]
        for one in priced
    ]
    headers = ["scenario", "sampler", "compute per trained example", "attack passes per trained example", "steps"]
    return table(headers, rows, left=2)
