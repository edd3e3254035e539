"""Two sides of a comparison that need not be an arm and uniform: two studies, or two arms of one. Paired by seed, as always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from robuststream.evidence.arms import Gap, Spread, paired_gap, spread
from robuststream.evidence.intervals import holm
from robuststream.evidence.speedup import HEADLINE, Ladder, SpeedUp, speed_up
from robuststream.records import RunRecords


class Pairing(NamedTuple):
    """The finished runs of both sides in one cell of the comparison, and the targets to time them to."""

    scenario: str
    sampler: str
    first: Sequence[RunRecords]
    second: Sequence[RunRecords]
    rungs: Ladder | None


@dataclass(frozen=True)
class Compared:
    """The second side against the first. Gaps are second less first; speed-ups are the first's cost over the second's."""

    scenario: str
    sampler: str
    first: Spread | None  # test accuracy at the last step
    second: Spread | None
    gap: Gap | None  # p is Holm-adjusted over the cells
    speed: SpeedUp | None  # to the headline's target; p likewise
    unequal: int  # seeds on which the two sides did not learn from the same data and labels


def compare(pairings: Sequence[Pairing]) -> list[Compared]:
    """Every cell with its tests, adjusted for the number of cells [Holm, 1979]."""
    found = [_compare(pairing) for pairing in pairings]
    gaps = holm([one.gap.p if one.gap else None for one in found])
    speeds = holm([one.speed.p if one.speed else None for one in found])
    return [
        replace(
            one,
            gap=replace(one.gap, p=gaps[place]) if one.gap else None,
            speed=replace(one.speed, p=speeds[place]) if one.speed else None,
        )
        for place, one in enumerate(found)
    ]


def _compare(pairing: Pairing) -> Compared:
    first, second = pairing.first, pairing.second
    return Compared(
        scenario=pairing.scenario,
        sampler=pairing.sampler,
        first=_accuracy(first),
        second=_accuracy(second),
        gap=paired_gap(second, first),
        speed=speed_up(second, first, pairing.rungs, *HEADLINE) if pairing.rungs and first and second else None,
        unequal=_unequal(first, second),
    )


def _accuracy(runs: Sequence[RunRecords]) -> Spread | None:
    return spread(run.result["last"]["test_accuracy"] for run in runs if run.result)


def _unequal(first: Sequence[RunRecords], second: Sequence[RunRecords]) -> int:
    def hashes(runs: Sequence[RunRecords]) -> dict[int, tuple[str, str]]:
        return {run.seed: (str(run.result["data"]["hash"]), str(run.result["labels"]["hash"])) for run in runs if run.result}

    own, other = hashes(first), hashes(second)
    return sum(own[seed] != other[seed] for seed in own if seed in other)
