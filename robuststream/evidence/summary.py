"""From the records of a study to everything that a report prints of it: plain frozen values, nothing formatted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from robuststream.evidence._flag import Place, by_cell
from robuststream.evidence.across import Across, across_scenarios
from robuststream.evidence.arms import ArmSummary, arm_summaries
from robuststream.evidence.compare import Compared
from robuststream.evidence.flags import Flag, study_flags
from robuststream.evidence.placebos import against_placebos
from robuststream.evidence.speedup import Ladder, ladder
from robuststream.evidence.tradeoff import Tradeoff, at_whole_budget, tradeoffs
from robuststream.records import RunRecords


@dataclass(frozen=True)
class ScenarioSummary:
    """One scenario: the ladder that uniform set in it, and every arm in the study's order."""

    scenario: str
    kind: str
    ladder: Ladder | None
    arms: tuple[ArmSummary, ...]


@dataclass(frozen=True)
class StudySummary:
    """A whole study. `baseline` is the label of the first arm of kind 'uniform', None where there is none."""

    name: str
    seeds: tuple[int, ...]
    baseline: str | None
    planned: int
    finished: int
    scenarios: tuple[ScenarioSummary, ...]
    flags: tuple[Flag, ...]
    across: tuple[Across, ...] = ()  # every sampler over all scenarios; () below two scenarios
    placebos: tuple[Compared, ...] = ()  # every selector against its placebo, where the study has one (rule 9)
    tradeoffs: tuple[Tradeoff, ...] = ()  # accuracy by budget, where the study has several

    @property
    def depth(self) -> tuple[int, int]:
        """Fewest and most finished runs of one arm in one scenario, where there is any: what the intervals can rest on."""
        counts = [arm.finished for scenario in self.scenarios for arm in scenario.arms if arm.finished]
        return (min(counts), max(counts)) if counts else (0, 0)


def summarise(study: dict[str, Any], runs: Sequence[RunRecords]) -> StudySummary:
    """Everything there is to say about a study's finished runs; unfinished ones only count as missing.

    Where a study has several budgets all but the trade-offs and the flags is of one of them, the recipe's own.
    """
    everything = in_order(study, [run for run in runs if run.result is not None])
    finished = at_whole_budget(study, everything)
    kinds = {entry["label"]: entry["kind"] for entry in study["samplers"]}
    baseline = next((entry["label"] for entry in study["samplers"] if entry["kind"] == "uniform"), None)
    found = by_cell(finished)
    cells = {
        label: {entry["label"]: found.get(Place(entry["label"], label), []) for entry in study["scenarios"]} for label in kinds
    }
    scenarios = tuple(
        _scenario(entry, study, baseline, {label: cells[label][entry["label"]] for label in kinds})
        for entry in study["scenarios"]
    )
    planned = len(study["runs"])
    ladders = {scenario.scenario: scenario.ladder for scenario in scenarios}
    flags = study_flags(everything, baseline, ladders, planned)
    across = across_scenarios(cells, baseline, ladders)
    return StudySummary(
        name=study["name"],
        seeds=tuple(study["seeds"]),
        baseline=baseline,
        planned=planned,
        finished=len(everything),
        scenarios=scenarios,
        flags=flags,
        across=across,
        placebos=tuple(against_placebos(study, finished, ladders)),
        tradeoffs=tuple(tradeoffs(study, everything, baseline)),
    )


def in_order(study: dict[str, Any], runs: Sequence[RunRecords]) -> list[RunRecords]:
    """The runs by scenario, sampler, budget and seed as the study names them, however they were found."""
    scenarios = {entry["label"]: place for place, entry in enumerate(study["scenarios"])}
    samplers = {entry["label"]: place for place, entry in enumerate(study["samplers"])}

    def place(run: RunRecords) -> tuple[int, int, float, int]:
        return scenarios[run.scenario], samplers[run.sampler], run.budget, run.seed

    return sorted(runs, key=place)


def _scenario(
    entry: dict[str, Any], study: dict[str, Any], baseline: str | None, runs: dict[str, list[RunRecords]]
) -> ScenarioSummary:
    """`runs` are its finished ones by sampler."""
    kinds = {arm["label"]: arm["kind"] for arm in study["samplers"]}
    placebos = {arm["label"] for arm in study["samplers"] if arm.get("placebo")}
    uniform = runs[baseline] if baseline is not None else []
    rungs = ladder(uniform, uniform[0].result["data"]["num_classes"]) if uniform and uniform[0].result else None
    arms = arm_summaries(kinds, runs, baseline, rungs, len(study["seeds"]))
    return ScenarioSummary(entry["label"], entry["kind"], rungs, tuple(_marked(arm, placebos) for arm in arms))


def _marked(arm: ArmSummary, placebos: set[str]) -> ArmSummary:
    return replace(arm, placebo=True) if arm.sampler in placebos else arm
