"""What the page holds as JSON: numbers and names, nothing formatted. Shares in per cent, gaps in points, costs as recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from robuststream.evidence._flag import Cells, Place, by_cell
from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.intervals import Interval
from robuststream.evidence.robustness import ArmRobustness, Robustness, robustness
from robuststream.evidence.speedup import CURRENCIES, HEADLINE, SHARES
from robuststream.evidence.summary import ScenarioSummary, StudySummary
from robuststream.records import RunRecords
from robuststream.reporting.curves import curve
from robuststream.reporting.origin import flat
from robuststream.reporting.robustness import radius
from robuststream.reporting.style import Who, looks
from robuststream.reporting.tables import doubts

_AXES = {"flops": "charged compute, uniform epochs", "step": "steps", "backwards": "backwards, examples", "seconds": "seconds"}

# Leaves of a result that are too long, or the same everywhere.
_UNTOLD = ("labels.matrix", "labels.per_class", "last.test_per_class", "rules")

_DIGITS = 5  # significant, of what is only drawn


def page_data(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> dict[str, Any]:
    """Everything that the page shows beside its sentences; `finished` in the study's order."""
    order = [HEADLINE[1], *(key for key in CURRENCIES if key != HEADLINE[1])]
    names, facts = _facts(finished)
    attacked = robustness(summary, finished)
    return {
        "currencies": [{"key": key, "name": CURRENCIES[key], "axis": _AXES[key]} for key in order],
        "rungs": list(SHARES),
        "headline": list(HEADLINE),
        "samplers": _samplers(study, summary, finished),
        "scenarios": [_scenario(study, scenario, finished) for scenario in summary.scenarios],
        "robust": [f"robust accuracy, eps {radius(found.target.eps)}, {found.target.examples} examples" for found in attacked],
        "cells": [_cell(summary, scenario, arm, attacked) for scenario in summary.scenarios for arm in scenario.arms],
        "curves": {key: _curves(summary, by_cell(finished), key) for key in order},
        "recipe": _leaves(study["recipe"]),
        "fact_names": names,
        "runs": facts,
    }


def _samplers(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> list[dict[str, Any]]:
    """In the study's order, with colours and dashes as in `style.looks`; the baseline has no colour of its own."""
    full = {run.sampler: run.settings["sampler"]["settings"] for run in finished}
    arms = [Who(entry["label"], entry["kind"], entry.get("placebo", False)) for entry in study["samplers"]]
    look = looks(arms, summary.baseline)
    found = []
    for entry in study["samplers"]:
        label = entry["label"]
        found.append(
            {
                "label": label,
                "kind": entry["kind"],
                "color": None if label == summary.baseline else look[label].color,
                "placebo": look[label].hollow,
                "dash": _dash(look[label].stroke),
                "settings": _leaves(full.get(label, entry["given"])),
            }
        )
    return found


def _dash(stroke: Any) -> str:
    return "" if stroke == "solid" else " ".join(f"{2 * length:g}" for length in stroke[1])


def _scenario(study: dict[str, Any], scenario: ScenarioSummary, finished: Sequence[RunRecords]) -> dict[str, Any]:
    full = {run.scenario: run.settings["scenario"]["settings"] for run in finished}
    given = next(entry["given"] for entry in study["scenarios"] if entry["label"] == scenario.scenario)
    rungs = scenario.ladder.targets if scenario.ladder else {}
    return {
        "label": scenario.scenario,
        "kind": scenario.kind,
        "targets": {rung: round(100 * target, 2) for rung, target in rungs.items()},
        "settings": _leaves(full.get(scenario.scenario, given)),
    }


def _cell(summary: StudySummary, scenario: ScenarioSummary, arm: ArmSummary, attacked: Sequence[Robustness]) -> dict[str, Any]:
    """Estimates are [value, low, high], the ends null without an interval; null where there is no estimate."""
    gap, test = arm.gap, arm.last_test
    return {
        "scenario": scenario.scenario,
        "sampler": arm.sampler,
        "runs": [arm.finished, arm.planned],
        "test": test and [100 * test.mean, None if test.sd is None else 100 * test.sd],
        "gap": gap and _estimate(gap.points, gap.interval),
        "p": gap and gap.p,
        "robust": [_attacked(found, scenario.scenario, arm.sampler) for found in attacked],
        "speed": {
            f"{rung} {currency}": _estimate(found.ratio.value, found.ratio.interval)
            for (rung, currency), found in arm.speedups.items()
            if found.ratio
        },
        "reach": {rung: [found.reached, found.runs] for rung, found in arm.reach.items()},
        "cost": {
            rung: _estimate(100 * found.mean, found.interval and Interval(*(100 * end for end in found.interval)))
            for rung, found in arm.restricted.items()
        },
        "doubts": {what: doubts(summary.flags, what, scenario.scenario, arm.sampler) for what in _DOUBTED},
    }


def _attacked(found: Robustness, scenario: str, sampler: str) -> dict[str, Any] | None:
    """Worst case of one arm and its gap to uniform's, None where the arm was not attacked so."""
    arm: ArmRobustness | None = next((one for one in found.arms if (one.scenario, one.sampler) == (scenario, sampler)), None)
    if arm is None:
        return None
    share, ends, gap = arm.worst.share.mean, arm.worst.over_seeds, arm.gap
    return {
        "share": _estimate(100 * share, ends and Interval(100 * ends.low, 100 * ends.high)),
        "gap": gap and _estimate(gap.points, gap.interval),
    }


_DOUBTED = ("accuracy", "speed-up", "seconds")


def _estimate(value: float, ends: Interval | None) -> list[float | None]:
    return [value, ends and ends.low, ends and ends.high]


def _curves(summary: StudySummary, cells: Cells, along: str) -> list[dict[str, Any]]:
    """Validation accuracy in per cent, mean and band over seeds, of every cell that has a curve."""
    found = []
    for scenario in summary.scenarios:
        for arm in scenario.arms:
            own = cells.get(Place(scenario.scenario, arm.sampler), [])
            if line := curve(own, "validation_accuracy", 100.0, along):
                parts = {part: _short(getattr(line, part)) for part in ("x", "mean", "low", "high")}
                found.append({"scenario": scenario.scenario, "sampler": arm.sampler, **parts})
    return found


def _short(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _leaves(settings: dict[str, Any]) -> list[list[str]]:
    return [[key, str(value)] for key, value in flat(settings)]


def _facts(finished: Sequence[RunRecords]) -> tuple[list[str], list[dict[str, Any]]]:
    """Every leaf of every result: the names once, and the values run by run; null where a run lacks one."""
    results = [dict(flat(run.result)) if run.result else {} for run in finished]
    names = [name for name in dict.fromkeys(key for found in results for key in found) if name not in _UNTOLD]
    runs = [
        {"scenario": run.scenario, "sampler": run.sampler, "seed": run.seed, "facts": [_told(found.get(name)) for name in names]}
        for run, found in zip(finished, results, strict=True)
    ]
    return names, runs


def _told(value: Any) -> Any:
    """Floats to the digits that are worth reading; NaN and infinity, which JSON does not know, as null and as text."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if isinstance(value, (int, str, bool)) or value is None else str(value)
