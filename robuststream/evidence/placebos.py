"""Every selector beside its own placebo: does it matter *which* examples it selects, or only how many (rule 9)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robuststream.evidence._flag import Place, by_cell
from robuststream.evidence.compare import Compared, Pairing, compare
from robuststream.evidence.speedup import Ladder
from robuststream.records import RunRecords


def against_placebos(
    study: dict[str, Any], finished: Sequence[RunRecords], ladders: Mapping[str, Ladder | None]
) -> list[Compared]:
    """Selector (second) against placebo (first) in every scenario where both have runs, paired by seed; Holm over all rows."""
    pairs, cells = placebos(study), by_cell(finished)
    pairings = [
        Pairing(scenario, selector, cells.get(Place(scenario, placebo), []), cells.get(Place(scenario, selector), []), rungs)
        for scenario, rungs in ladders.items()
        for selector, placebo in pairs.items()
    ]
    return compare([pairing for pairing in pairings if pairing.first and pairing.second])


def placebos(study: dict[str, Any]) -> dict[str, str]:
    """Label of a selector -> label of its placebo: the same method with the same hyperparameters, but for what it sees."""
    found: dict[str, str] = {}
    for entry in study["samplers"]:
        twins = [other for other in study["samplers"] if other.get("placebo") and _method(other) == _method(entry)]
        if twins and not entry.get("placebo"):
            found[entry["label"]] = twins[0]["label"]
    return found


def _method(entry: dict[str, Any]) -> dict[str, Any]:
    """The kind, the hyperparameters, and whatever else an arm may have but its name."""
    return {key: value for key, value in entry.items() if key not in ("label", "placebo") and value is not None}
