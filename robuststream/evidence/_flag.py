"""What a flag is; `flags` and `clock` raise them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from robuststream.records import RunRecords

Doubt = Literal["accuracy", "speed-up", "seconds", "enrichment", "robust accuracy", "everything"]


class Place(NamedTuple):
    """A scenario and a sampler by label; None means all of them."""

    scenario: str | None = None
    sampler: str | None = None

    def __str__(self) -> str:
        return ", ".join(part for part in (self.sampler, self.scenario) if part) or "the whole study"


@dataclass(frozen=True)
class Flag:
    """`doubts` names the numbers that the flag stands beside."""

    name: str
    doubts: Doubt
    where: tuple[Place, ...]
    sentence: str


Cells = Mapping[Place, Sequence[RunRecords]]
"""(scenario, sampler) -> its finished runs."""


def by_cell(runs: Iterable[RunRecords]) -> dict[Place, list[RunRecords]]:
    """Once over thousands of runs, where picking them out cell by cell would be once for each cell."""
    cells: dict[Place, list[RunRecords]] = {}
    for run in runs:
        cells.setdefault(Place(run.scenario, run.sampler), []).append(run)
    return cells


def result_of(run: RunRecords) -> dict[str, Any]:
    """The result of a finished run."""
    assert run.result is not None  # only finished runs come here
    return run.result
