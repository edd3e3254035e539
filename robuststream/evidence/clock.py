"""What casts doubt on seconds: where they went, whether they drifted, whether runs shared the device (rules 3, 7 and 12)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from statistics import fmean, median
from typing import Any

from scipy import stats

from robuststream.evidence._flag import Cells, Flag, Place, result_of
from robuststream.evidence.speedup import number
from robuststream.records import RunRecords


def data_bound(cells: Cells) -> Flag | None:
    """More than 30 % of the seconds on the clock went into fetching."""
    shares = _over(cells, 0.3, lambda seconds: (seconds["phases"].get("fetch", 0.0), seconds["train"]))
    if not shares:
        return None
    return Flag(
        "data-bound",
        "seconds",
        tuple(shares),
        f"up to {max(shares.values()):.0%} of the training seconds went into fetching examples; seconds measure the storage here",
    )


def evaluation_heavy(cells: Cells) -> Flag | None:
    """More than 20 % of the wall went into evaluation."""
    shares = _over(cells, 0.2, lambda seconds: (seconds["evaluation"], _wall(seconds)))
    if not shares:
        return None
    return Flag(
        "evaluation heavy",
        "seconds",
        tuple(shares),
        f"up to {max(shares.values()):.0%} of the wall went into evaluation, which may heat or throttle what is timed; "
        "evaluate more rarely",
    )


def _over(cells: Cells, limit: float, part_and_whole: Callable[[dict[str, Any]], tuple[float, float]]) -> dict[Place, float]:
    """The cells whose mean share exceeds the limit, with that share."""
    shares: dict[Place, float] = {}
    for place, runs in cells.items():
        pairs = [part_and_whole(result_of(run)["seconds"]) for run in runs]
        whole = sum(whole for _, whole in pairs)
        if whole > 0 and sum(part for part, _ in pairs) / whole > limit:
            shares[place] = sum(part for part, _ in pairs) / whole
    return shares


def drift(cells: Cells) -> Flag | None:
    """Step time against run order, each run relative to the median of its own cell: arms may differ, time of day may not."""
    relative: list[tuple[float, float]] = []
    for runs in cells.values():
        timed = [(start, step) for run in runs if (start := started(run)) is not None and (step := _step_seconds(run))]
        middle = median(step for _, step in timed) if len(timed) > 1 else None
        relative += [(start, step / middle) for start, step in timed if middle]
    steps = [step for _, step in sorted(relative)]
    third = len(steps) // 3
    if third < 2 or max(steps) == min(steps):
        return None
    change = fmean(steps[-third:]) / fmean(steps[:third]) - 1
    p = stats.spearmanr(range(len(steps)), steps).pvalue  # pyright: ignore[reportAttributeAccessIssue]
    if p >= 0.01 or abs(change) <= 0.1:
        return None
    return Flag(
        "drift of step time",
        "seconds",
        (Place(),),
        f"the last third of the runs took {change:+.0%} per step compared with the first third (Spearman p = {p:.1g}); "
        "something beside the samplers changed the machine's speed",
    )


def side_by_side(finished: Iterable[RunRecords]) -> bool:
    """Whether some run certainly began before another had ended, so that seconds are indicative only (rule 7)."""
    spans = sorted((start, start + _wall(result_of(run)["seconds"])) for run in finished if (start := started(run)) is not None)
    return any(following < end - 1.0 for (_, end), (following, _) in itertools.pairwise(spans))


def started(run: RunRecords) -> float | None:
    """Seconds since the epoch, from a number or an ISO 8601 time in the run's provenance."""
    value = result_of(run)["provenance"].get("started")
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    return number(value)


def _wall(seconds: dict[str, Any]) -> float:
    return sum(seconds.get(part) or 0.0 for part in ("train", "evaluation", "attack", "checkpoint", "compile"))


def _step_seconds(run: RunRecords) -> float | None:
    result = result_of(run)
    return result["seconds"]["train"] / result["totals"]["steps"] if result["totals"]["steps"] else None
