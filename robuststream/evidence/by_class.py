"""What the test set says class by class, beside what was learned from: plain frozen values, nothing formatted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from robuststream.evidence.arms import Spread, spread
from robuststream.records import RunRecords


@dataclass(frozen=True)
class ClassView:
    """One scenario by clean class, K entries each; means over the runs that have the figures."""

    scenario: str
    examples: tuple[float, ...]  # in the pool, foreign images apart
    wrong: tuple[float, ...]  # share of wrong labels among them
    accuracies: dict[str, tuple[Spread | None, ...]]  # sampler -> test accuracy at the last step


@dataclass(frozen=True)
class NoiseView:
    """One scenario with wrong labels: the kind of noise, its realised rate, and what it did to every sampler."""

    scenario: str
    kind: str
    rate: float
    accuracies: dict[str, Spread | None]  # test accuracy at the last step
    memorised: dict[str, Spread | None]  # share of the wrong labels that the network predicts in the end


def by_class(runs: Sequence[RunRecords]) -> list[ClassView]:
    """Every scenario whose finished runs carry test accuracy by class, in the order met."""
    found = []
    for scenario, own in _grouped(runs).items():
        kept = [run for run in own if "test_per_class" in _result(run)["last"]]
        if kept:
            labels = [_result(run)["labels"] for run in kept]
            sizes = [[sum(row) for row in one["matrix"]] for one in labels]
            found.append(
                ClassView(
                    scenario,
                    tuple(map(fmean, zip(*sizes, strict=True))),
                    tuple(map(fmean, zip(*(one["per_class"] for one in labels), strict=True))),
                    {name: _accuracies(arm) for name, arm in _by_sampler(kept).items()},
                )
            )
    return found


def by_noise(runs: Sequence[RunRecords]) -> list[NoiseView]:
    """Every scenario with wrong labels; [] where they are all of one kind, which tells nothing that other tables do not."""
    found = [
        NoiseView(
            scenario,
            noise_kind(own[0].settings["scenario"]),
            fmean(_result(run)["labels"]["rate"] for run in own),
            {name: spread(_result(run)["last"]["test_accuracy"] for run in arm) for name, arm in _by_sampler(own).items()},
            {name: spread(run.evaluations[-1].get("memorised") for run in arm) for name, arm in _by_sampler(own).items()},
        )
        for scenario, own in _grouped(runs).items()
        if any(_result(run)["labels"]["wrong"] for run in own)
    ]
    return found if len({view.kind for view in found}) > 1 else []


def noise_kind(scenario: dict[str, Any]) -> str:
    """A scenario's `noise`, or that of its parts, else its kind."""
    settings = scenario["settings"]
    parts = [part for part in settings.get("parts", []) if isinstance(part, dict)]
    return " + ".join(str(one["noise"]) for one in (settings, *parts) if "noise" in one) or str(scenario["kind"])


def _accuracies(runs: Sequence[RunRecords]) -> tuple[Spread | None, ...]:
    return tuple(map(spread, zip(*(_result(run)["last"]["test_per_class"] for run in runs), strict=True)))


def _grouped(runs: Sequence[RunRecords]) -> dict[str, list[RunRecords]]:
    found: dict[str, list[RunRecords]] = {}
    for run in runs:
        if run.result is not None and run.evaluations:
            found.setdefault(run.scenario, []).append(run)
    return found


def _by_sampler(runs: Sequence[RunRecords]) -> dict[str, list[RunRecords]]:
    found: dict[str, list[RunRecords]] = {}
    for run in runs:
        found.setdefault(run.sampler, []).append(run)
    return found


def _result(run: RunRecords) -> dict[str, Any]:
    assert run.result is not None  # only finished runs come here
    return run.result
