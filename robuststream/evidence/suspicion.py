"""The warnings that runs have raised about their own robust accuracy (rules 11 and 12)."""

from __future__ import annotations

from typing import Any

from robuststream.evidence._flag import Cells, Flag, Place
from robuststream.records import RunRecords

_WARNINGS = {
    "random-forward": "the network answers the same images differently, so gradients and single answers mislead an attack",
    "softmax-outputs": "the network answers with probabilities, whose gradients vanish where it is sure; attack its logits",
    "zero-gradients": "gradients vanish at some images, so gradient attacks are blind there",
    "gradient-inside": "the network takes gradients in its forward pass, which standard attacks do not see through",
    "square-stronger": "an attack without gradients beat those with, so gradients mislead; robust accuracy is too high",
}
"""AutoAttack's five [Croce and Hein, 2020]."""


def measurements(run: RunRecords) -> list[dict[str, Any]]:
    """What a finished run knows of its accuracy under attack, one entry for each eps and part of the test set."""
    return (run.result or {}).get("robust") or []


def suspicions(cells: Cells) -> list[Flag]:
    """The warnings that runs have raised about their robust accuracy, one flag for each kind."""
    told: dict[str, dict[Place, str]] = {}
    counts: dict[str, int] = {}
    for place, runs in cells.items():
        for run in runs:
            kinds = {flag["kind"]: flag["detail"] for found in measurements(run) for flag in found["flags"]}
            for kind, detail in kinds.items():
                told.setdefault(kind, {}).setdefault(place, detail)
                counts[kind] = counts.get(kind, 0) + 1
    return [
        Flag(
            kind.replace("-", " "),
            "robust accuracy",
            tuple(places),
            f"in {counts[kind]} {'run' if counts[kind] == 1 else 'runs'}: {_WARNINGS.get(kind, kind)} "
            f"(for one: {next(iter(places.values()))})",
        )
        for kind, places in told.items()
    ]
