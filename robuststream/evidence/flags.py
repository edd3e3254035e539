"""Flags (rule 12): what in the records casts doubt on a number, said in one sentence beside that number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from robuststream.evidence._flag import Cells, Flag, Place, by_cell, result_of
from robuststream.evidence.clock import data_bound, drift, evaluation_heavy
from robuststream.evidence.speedup import Ladder, number
from robuststream.evidence.suspicion import suspicions
from robuststream.records import RunRecords

__all__ = ["Flag", "Place", "study_flags"]

_SAME = ("robuststream", "source", "python", "torch", "numpy", "platform", "device", "threads", "commit", "dirty")


def study_flags(
    finished: Sequence[RunRecords], baseline: str | None, ladders: Mapping[str, Ladder | None], planned: int
) -> tuple[Flag, ...]:
    """Every flag that the finished runs of a study raise, the gravest first."""
    cells = by_cell(finished)
    found = [
        _missing(len(finished), planned),
        _diverged(cells),
        _repaired(cells),
        _unfair(finished),
        _mixed(finished),
        _not_decayed(cells, baseline),
        _easy_target(cells, baseline, ladders),
        _leak(cells, baseline),
        data_bound(cells),
        evaluation_heavy(cells),
        drift(cells),
        *suspicions(cells),
    ]
    return tuple(flag for flag in found if flag is not None)


def _missing(finished: int, planned: int) -> Flag | None:
    if finished >= planned:
        return None
    return Flag(
        "runs missing",
        "everything",
        (Place(),),
        f"{planned - finished} of {planned} runs have not finished; every number here may still move",
    )


def _diverged(cells: Cells) -> Flag | None:
    counts = {place: sum(bool(result_of(run)["diverged"]) for run in runs) for place, runs in cells.items()}
    where = tuple(place for place, count in counts.items() if count)
    if not where:
        return None
    return Flag(
        "diverged",
        "accuracy",
        where,
        f"{sum(counts.values())} runs diverged; means leave out figures that such a run does not have, and it reaches no target "
        "after that",
    )


def _repaired(cells: Cells) -> Flag | None:
    """Base values that exploded or vanished: a sum tree holds no such value, and says how often it was given one."""
    most = {place: max(result_of(run)["counters"].get("repaired_values", 0) for run in runs) for place, runs in cells.items()}
    where = tuple(place for place, count in most.items() if count)
    if not where:
        return None
    return Flag(
        "base values repaired",
        "accuracy",
        where,
        f"base values were no number, infinite or too small to hold, up to {max(most.values())} times in a run, and were "
        "replaced; what was drawn by them follows that rule, not the method",
    )


def _unfair(finished: Sequence[RunRecords]) -> Flag | None:
    """Rule 1: for one seed of one scenario every arm sees the same data and the same corrupted labels."""
    hashes: defaultdict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
    for run in finished:
        result = result_of(run)
        hashes[run.scenario, run.seed].add((str(result["data"]["hash"]), str(result["labels"]["hash"])))
    apart = [key for key, seen in hashes.items() if len(seen) > 1]
    where = tuple(Place(scenario) for scenario in dict.fromkeys(scenario for scenario, _ in apart))
    if not where:
        return None
    return Flag(
        "unequal data",
        "everything",
        where,
        f"in {len(apart)} pairs of scenario and seed the arms did not learn from the same data and labels (their hashes differ), "
        "so they cannot be compared",
    )


def _mixed(finished: Sequence[RunRecords]) -> Flag | None:
    """Rules 7 and 13: one comparison, one machine, one state of the code."""
    provenances = [result_of(run)["provenance"] for run in finished]
    mixed = [key for key in _SAME if len({str(provenance.get(key)) for provenance in provenances}) > 1]
    if not mixed:
        return None
    return Flag(
        "mixed provenance",
        "everything",
        (Place(),),
        f"the runs do not agree in {', '.join(mixed)}; see the provenance below for which values occur how often",
    )


def _not_decayed(cells: Cells, baseline: str | None) -> Flag | None:
    """Uniform's last learning rate above a tenth of its highest; a run that diverged stopped early and is not asked."""
    worst: dict[Place, float] = {}
    for place in (place for place in cells if place.sampler == baseline):
        whole = [run for run in cells[place] if not result_of(run)["diverged"]]
        rates = [[rate for rate in run.series("lr") if rate == rate] for run in whole]
        shares = [rate[-1] / max(rate) for rate in rates if rate and max(rate) > 0]
        if shares and max(shares) > 0.1:
            worst[place] = max(shares)
    if not worst:
        return None
    return Flag(
        "baseline not decayed",
        "speed-up",
        tuple(worst),
        f"uniform ended at {max(worst.values()):.0%} of its highest learning rate; gains over such a baseline have "
        "vanished once it was fully decayed (Kaddour et al., 2023)",
    )


def _easy_target(cells: Cells, baseline: str | None, ladders: Mapping[str, Ladder | None]) -> Flag | None:
    """A target within one sd of uniform's first evaluation is passed by luck, or at once."""
    easy: dict[Place, list[str]] = {}
    for scenario, rungs in ladders.items():
        runs = cells.get(Place(scenario, baseline), [])
        first = [value for run in runs if run.evaluations and (value := number(run.evaluations[0]["validation_accuracy"]))]
        if rungs is None or not first:
            continue
        reachable = fmean(first) + (stdev(first) if len(first) > 1 else 0.0)
        if names := [rung for rung, target in rungs.targets.items() if target <= reachable]:
            easy[Place(scenario)] = names
    named = "; ".join(f"{', '.join(names)} in {place}" for place, names in easy.items())
    if not easy:
        return None
    return Flag(
        "target near the start",
        "speed-up",
        tuple(easy),
        f"within one standard deviation of uniform's first evaluation: {named}; a speed-up to such a target is luck",
    )


def _leak(cells: Cells, baseline: str | None) -> Flag | None:
    """Drawing wrong labels should hurt: where it does not, something may know which are wrong."""
    suspects: dict[Place, float] = {}
    for place, runs in cells.items():
        uniform = cells.get(Place(place.scenario, baseline), [])
        enriched = [value for run in runs for value in run.series("enrichment") if value == value]
        start, end, base = _accuracy_at(runs, 0), _accuracy_at(runs, -1), _accuracy_at(uniform, -1)
        if place.sampler != baseline and enriched and fmean(enriched) > 2 and start < end > base > 0:
            suspects[place] = fmean(enriched)
    if not suspects:
        return None
    return Flag(
        "labels leak?",
        "accuracy",
        tuple(suspects),
        f"wrong labels were drawn {max(suspects.values()):.1f} times as often as they occur, and yet accuracy rose and ended "
        "above uniform's; look for clean labels that reach the sampler",
    )


def _accuracy_at(runs: Sequence[RunRecords], place: int) -> float:
    """Mean validation accuracy at the first (0) or last (-1) evaluation; 0 where there is none."""
    found = [number(run.evaluations[place]["validation_accuracy"]) for run in runs if run.evaluations]
    return fmean(value or 0.0 for value in found) if found else 0.0
