"""`compare`: what differs in settings and what in outcome, between two studies or two samplers of one. Markdown, to print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robuststream.errors import UserError, meant
from robuststream.evidence.compare import Compared, Pairing, compare
from robuststream.evidence.speedup import HEADLINE, Ladder
from robuststream.evidence.summary import in_order, summarise
from robuststream.evidence.tradeoff import at_whole_budget
from robuststream.records import RunRecords, read_study
from robuststream.reporting.markdown import NONE, accuracy, escape, gap, p_value, ratio, table
from robuststream.reporting.origin import flat


class _Side(NamedTuple):
    """A study as read: its settings, its finished runs, and the targets of its scenarios."""

    study: dict[str, Any]
    runs: Sequence[RunRecords]
    ladders: dict[str, Ladder | None]

    def cell(self, scenario: str, sampler: str) -> list[RunRecords]:
        return [run for run in self.runs if (run.scenario, run.sampler) == (scenario, sampler)]


def compare_studies(first: Path, second: Path) -> str:
    """Every (scenario, sampler) that both studies have, timed to the first study's targets.

    Raises UserError where one is no study's folder, or they share no cell with finished runs.
    """
    a, b = _read(first), _read(second)
    cells = [(s["label"], m["label"]) for s in a.study["scenarios"] for m in a.study["samplers"]]
    pairings = [
        Pairing(scenario, sampler, a.cell(scenario, sampler), b.cell(scenario, sampler), a.ladders[scenario])
        for scenario, sampler in cells
    ]
    shared = [pairing for pairing in pairings if pairing.first and pairing.second]
    if not shared:
        raise UserError(
            f"{first} and {second} have no finished runs of the same scenario and sampler, so nothing can be compared"
        )
    names = (str(first), str(second))
    return _page(names, _differences(_study_settings(a), _study_settings(b)), compare(shared))


def compare_samplers(folder: Path, first: str, second: str) -> str:
    """Two arms of one study in all its scenarios.

    Raises UserError where the folder is no study's, a label is not in it, or no scenario has finished runs of both.
    """
    side = _read(folder)
    entries = {entry["label"]: entry for entry in side.study["samplers"]}
    for label in (first, second):
        if label not in entries:
            raise UserError(f"{folder} has no sampler '{label}'; {meant(label, entries)}")
    pairings = [
        Pairing(scenario, f"{second} vs {first}", side.cell(scenario, first), side.cell(scenario, second), rungs)
        for scenario, rungs in side.ladders.items()
    ]
    shared = [pairing for pairing in pairings if pairing.first and pairing.second]
    if not shared:
        raise UserError(f"{folder} has no scenario with finished runs of both {first} and {second}, so nothing can be compared")
    settings = [_sampler_settings(side, label) for label in (first, second)]
    return _page((first, second), _differences(*settings), compare(shared))


def _read(folder: Path) -> _Side:
    study, runs = read_study(folder)
    summary = summarise(study, runs)
    finished = at_whole_budget(study, in_order(study, [run for run in runs if run.result is not None]))
    return _Side(study, finished, {scenario.scenario: scenario.ladder for scenario in summary.scenarios})


# Settings


def _study_settings(side: _Side) -> dict[str, str]:
    """Everything that decides numbers, and where they were made, as dotted keys."""
    found = {f"recipe.{key}": str(value) for key, value in flat(side.study["recipe"])}
    found["seeds"] = ", ".join(map(str, side.study["seeds"]))
    for run in side.runs:
        for what, plugin in (("sampler", run.arm), ("scenario", run.settings["scenario"])):
            found[f"{what} {plugin['label']}: kind"] = plugin["kind"]
            found |= {f"{what} {plugin['label']}: {key}": str(value) for key, value in flat(plugin["settings"])}
    provenances = [run.result["provenance"] for run in side.runs if run.result]
    for key in dict.fromkeys(key for provenance in provenances for key in provenance if key != "started"):
        found[f"provenance.{key}"] = ", ".join(sorted({str(provenance.get(key)) for provenance in provenances}))
    return found


def _sampler_settings(side: _Side, label: str) -> dict[str, str]:
    run = next(run for run in side.runs if run.sampler == label)
    return {"kind": run.arm["kind"]} | {key: str(value) for key, value in flat(run.arm["settings"])}


def _differences(first: dict[str, str], second: dict[str, str]) -> list[list[str]]:
    """(key, first, second) wherever they do not agree; a dash for a setting that one side lacks."""
    keys = dict.fromkeys((*first, *second))
    pairs = [(key, first.get(key, NONE), second.get(key, NONE)) for key in keys]
    return [[escape(cell) for cell in pair] for pair in pairs if pair[1] != pair[2]]


# Outcome


def _page(names: tuple[str, str], differences: list[list[str]], found: Sequence[Compared]) -> str:
    a, b = (escape(name) for name in names)
    settings = table(["setting", a, b], differences, left=3) if differences else "No setting differs."
    headers = ["scenario", "sampler", f"{a}, %", f"{b}, %", "gap, points", "p", f"speed-up to {HEADLINE[0]}, FLOPs", "p", "pairs"]
    outcome = table(headers, [_row(one) for one in found], left=2)
    note = (
        f"Gap: test accuracy at the last step, {b} less {a}. Speed-up: cost of {a} over cost of {b}, above 1 where {b} is "
        "cheaper. Both are paired by seed with 95 % intervals; p by sign-flip test, adjusted by Holm for the rows."
    )
    parts = ["## What differs in settings", settings, "## What differs in outcome", outcome, note]
    if unequal := sum(one.unequal for one in found):
        parts.append(
            f"⚑ In {unequal} pairs the two sides did not learn from the same data and labels (their hashes differ): they are "
            "paired by the number of the seed only."
        )
    return "\n\n".join(parts) + "\n"


def _row(one: Compared) -> list[str]:
    return [
        escape(one.scenario),
        escape(one.sampler),
        accuracy(one.first),
        accuracy(one.second),
        gap(one.gap),
        p_value(one.gap.p if one.gap else None),
        ratio(one.speed),
        p_value(one.speed.p if one.speed else None),
        str(one.gap.pairs if one.gap else 0),
    ]
