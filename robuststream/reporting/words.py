"""Sentences around the tables, written from the settings; and what the words mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robuststream.config import Budget
from robuststream.evidence.intervals import BOOTSTRAP_FROM, FEWEST_PAIRS
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.evidence.tradeoff import shares
from robuststream.records import RunRecords
from robuststream.reporting.markdown import escape, quantity

GLOSSARY = {
    "sampler": "the method that chooses which training examples are learned from next; an *arm* of the comparison.",
    "scenario": "what makes the world hostile: wrong labels, attacked inputs, or nothing (clean).",
    "recipe": "data set, network, optimizer, schedule, augmentation and budget, the same for every arm.",
    "budget": "an amount of compute, in FLOPs of uniform epochs unless it says otherwise. Whatever a sampler spends on choosing "
    "is taken from it, and the learning rate falls with the spent share, so every arm ends fully decayed.",
    "forwards, backwards": "examples sent through the network without and with a gradient. All are charged: training passes, "
    "probes (passes made only to choose) and attack passes.",
    "T90, T95, T98, T100": "targets in validation accuracy: chance plus 90, 95, 98, 100 % of what uniform gains over chance, "
    "where T100 is the median over seeds of uniform's best validation accuracy.",
    "reached": "a run reaches a target at the first of two consecutive evaluations at or above it. Behind the count stands "
    "Wilson's 95 % interval of the share.",
    "speed-up": "uniform's cost to a target over this sampler's, on the same seed; above 1 is cheaper than uniform.",
    "gap": "test accuracy less uniform's on the same seed, in percentage points.",
    "mean cost": "of reaching a target, in shares of the budget, where a run that missed counts as the whole budget.",
    "p": "two-sided sign-flip test on paired differences, adjusted by Holm for the number of arms in the scenario.",
    "enrichment": "share of wrong labels among the drawn examples, over their share in the training data; below 1 a sampler "
    "avoids them.",
    "wrong drawn": "share of wrong labels among the examples drawn since the evaluation before.",
    "memorised": "share of the wrong labels that the network now predicts.",
    "coverage": "distinct examples among the last N draws, over N; one epoch of uniform shuffling has 100 %.",
    "ESS": "effective sample size 1 / sum p², over N: 100 % when all examples are equally probable.",
    "age": "mean number of steps since the last forward pass of an example, which is how old its stored value is.",
    "concordance": "share of pairs of examples whose stored base values are ordered as freshly computed ones are.",
    "base value": "the stored difficulty of an example, by which some samplers decide.",
}


def asked(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> str:
    """The question of a study, in one paragraph for somebody who has never seen it."""
    recipe = study["recipe"]
    arms = [entry["label"] for entry in study["samplers"] if entry["label"] != summary.baseline]
    rival = "uniform shuffling" if summary.baseline else "one another"
    worlds = [entry["label"] for entry in study["scenarios"]]
    verb = "does" if len(arms) == 1 else "do"
    named = listed([escape(arm) for arm in arms]) or "the samplers"
    question = (
        f"How {verb} {named} compare with {rival} in training the network {escape(recipe['model'])} on "
        f"{escape(recipe['data'])}, in accuracy and in compute, {_where(worlds)}? "
        f"Every run may spend {_budget(recipe, finished)}, choosing included."
    )
    counted = {"sampler": study["samplers"], "scenario": worlds, "seed": study["seeds"]}
    grid = " × ".join(f"{len(some)} {name}{'s' * (len(some) != 1)}" for name, some in counted.items())
    grid += f" × {len(budgets)} budgets" if len(budgets := shares(study)) > 1 else ""
    return f"{question} {grid}; {summary.finished} of {summary.planned} runs have finished. {_read(finished)}".rstrip()


def _budget(recipe: dict[str, Any], finished: Sequence[RunRecords]) -> str:
    budget = recipe["budget"]
    amount = f"{Budget(**budget)}" if isinstance(budget, dict) else str(budget)
    charged = [run.result["totals"]["budget_flops"] for run in finished if run.result and run.result["totals"]["budget_flops"]]
    what = f"the compute of {amount} of uniform shuffling" if amount.endswith("epochs") else amount
    return what + (f" ({_span(charged)} FLOPs)" if charged else "")


def _read(finished: Sequence[RunRecords]) -> str:
    if not finished or finished[0].result is None:
        return ""
    data = finished[0].result["data"]
    trained = _span([run.result["data"]["train"] for run in finished if run.result], str)
    return (
        f"Of the labels only the {trained} for training may be wrong; targets are read on {data['validation']} clean "
        f"validation examples, and accuracy once, at the end, on {data['test']} clean test examples."
    )


def _span(values: Sequence[float], told: Callable[[float], str] = quantity) -> str:
    """One value where all agree; scenarios may differ, as a long tail has a smaller pool and so a smaller budget in epochs."""
    low, high = told(min(values)), told(max(values))
    return low if low == high else f"{low} to {high}"


MATRIX_CAPTION = (
    f"*Each cell: speed-up in charged FLOPs to {HEADLINE[0]}, then test accuracy at the last step less uniform's, both paired by "
    "seed with 95 % intervals, not widened for the number of arms. **Bold**, faster and slower are claims: at least 10 pairs, an "
    "interval without 'no difference', and p < .05 after Holm over the arms. Reported: such an interval without the pairs or the "
    "p for a claim. Measured: too few pairs for an interval. Did not get there: fewer than half of the runs reached the target.*"
)

ACROSS_CAPTION = (
    "*Interquartile mean: the middle half of all test accuracies at the last step, averaged; stratified bootstrap. Probability "
    "of improvement: the chance that a run ends above a run of uniform in the same scenario, averaged over scenarios. Profile: "
    f"the share of scenarios in which the median cost to {HEADLINE[0]} (charged FLOPs, misses infinite) is within so many times "
    "the best sampler's; its score is the area from 1 to 4, so 1 is cheapest everywhere and 0 never near. Intervals are for "
    "other seeds of the same scenarios, not for other scenarios.*"
)


def main_caption(summary: StudySummary) -> str:
    """Under the first table."""
    fewest, most = summary.depth
    seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    ends = f"brackets are 95 % intervals over {seeds} paired seeds, not widened for the number of arms"
    if most < FEWEST_PAIRS:
        ends = f"with fewer than {FEWEST_PAIRS} seeds no interval is given"
    if summary.baseline is None:
        return "*Test accuracy at the last step, mean ± standard deviation over seeds.*"
    return (
        f"*Test accuracy at the last step, mean ± standard deviation over seeds; gap and speed-up are paired by seed and {ends}. "
        f"Speed-up is in charged FLOPs to {HEADLINE[0]}, on the seeds where both reached it; none is printed where fewer than "
        "half of the runs, or of uniform's, did. Reached: runs at the target, with Wilson's 95 % interval.*"
    )


def no_speedups(summary: StudySummary) -> str:
    """Why a report has no speed-up at all."""
    if summary.baseline is None:
        return "this study has no sampler of kind uniform to measure them against."
    return "uniform has no finished run yet, so there is no target."


def speed_intro(recipe: dict[str, Any]) -> str:
    """Before the ladder: what the targets are, and how finely costs can be told apart."""
    return (
        "The targets, in validation accuracy. A cost is read at the first of two consecutive evaluations at or above a target, "
        f"and there are {recipe.get('evaluations', 'few')} evaluations over the budget: that is the grain of every speed-up. "
        "In parentheses: how many of uniform's own runs reached it."
    )


def speed_caption(summary: StudySummary, side_by_side: bool) -> str:
    """Under the full tables of speed-ups."""
    how = "paired t on log ratios" if summary.depth[1] < BOOTSTRAP_FROM else "BCa bootstrap of log ratios"
    return (
        f"*Speed-ups are geometric means over the pairs in which both reached the target, with 95 % intervals by {how} from "
        f"{FEWEST_PAIRS} pairs up. Leaving out pairs that missed flatters whoever missed; two columns do not: in the median "
        "ratio a miss is infinitely dear (0 where the sampler missed, ∞ where uniform did), in the mean cost it is the whole "
        f"budget. {seconds_note(side_by_side)}*"
    )


def seconds_note(side_by_side: bool) -> str:
    """Whether the seconds may be quoted (rule 7)."""
    if side_by_side:
        return "Some runs overlapped in time, so seconds are indicative; the headline is charged FLOPs."
    return "No two runs overlapped in time as far as their records show; seconds are comparable if nothing else used the device."


ACCURACY_CAPTION = (
    "*In per cent, mean ± standard deviation over seeds. The validation-best step is chosen on validation data; best-on-test is "
    "never computed. p: sign-flip test on the gap, adjusted by Holm for the arms of the scenario.*"
)


REBUILD = (
    "`robuststream report FOLDER` writes this page and its figures anew from the study's folder; the same records give the same "
    "bytes. Where the run folders are gone, `runs.jsonl.gz` beside this page holds every finished run and is enough. To measure "
    "anew, use the command under [Provenance](#provenance)."
)


def listed(texts: Sequence[str]) -> str:
    """'a, b and c', of Markdown already; '' of nothing."""
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def _where(worlds: Sequence[str]) -> str:
    return f"in the {'scenario' if len(worlds) == 1 else 'scenarios'} {listed([escape(world) for world in worlds])}"
