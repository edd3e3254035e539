"""Timing on one thread: blocks of steps that alternate between contenders, each accepted only if it had its core for itself."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Step = Callable[[], object]

ONE_THREAD = 1.1  # a CPU share above this is the work of more than one thread


@dataclass(frozen=True)
class Rules:
    """How often and how long a contender is timed, and what is refused."""

    blocks: int = 31
    seconds: float = 0.004  # one block takes at least so long
    budget: float = 20.0  # seconds for all blocks of a contender; where they would take longer they are fewer ...
    least: int = 5  # ... but never fewer than this
    share: float = 0.95  # least CPU time / wall time of a block; below, the block is measured again
    most: float = ONE_THREAD  # above this CPU share more threads have run than should
    repeats: int = 15  # more blocks than this measured again, and the contender is refused


@dataclass
class Timing:
    """Seconds per step, one number per accepted block."""

    steps: int  # per block
    times: list[float] = field(default_factory=list)
    share: float = 1.0  # the least of the accepted blocks
    repeated: int = 0  # blocks that were measured again
    refused: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Interquartile range / median."""
        low, _, high = statistics.quantiles(self.times, n=4)
        return (high - low) / self.median

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.refused:
            return {"refused": self.refused}
        facts = {"median": self.median, "spread": self.spread, "blocks": len(self.times), "steps_per_block": self.steps}
        return {**facts, "least_cpu_share": self.share, "blocks_repeated": self.repeated}


def busy(seconds: float = 0.3) -> str:
    """What to know before anything is measured: this process did not have a core for itself just now; '' where it did."""
    cpu, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        pass
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    if share >= Rules.share:
        return ""
    return (
        f"this machine is busy: of its core this process got {share:.0%}, and figures count from {Rules.share:.0%} on; "
        f"what is measured meanwhile will be refused"
    )


def interleave(steps: dict[str, Step], rules: Rules) -> dict[str, Timing]:
    """Time all contenders side by side: a block of each in turn, who begins moving on by one every round.

    A contender that had to repeat too many blocks is left out from then on and says why.
    """
    timings, blocks = {}, {}
    for name, step in steps.items():
        timings[name], blocks[name] = _plan(step, rules)
    names = list(steps)
    for round_ in range(rules.blocks):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            if round_ < blocks[name] and not timings[name].refused:
                _accept_block(steps[name], timings[name], rules)
    return timings


def _plan(step: Step, rules: Rules) -> tuple[Timing, int]:
    """Steps per block and number of blocks, from a few steps that also warm up."""
    step()
    begun, done = time.perf_counter(), 0
    while done < 3 or time.perf_counter() - begun < rules.seconds:
        step()
        done += 1
        if time.perf_counter() - begun > 0.4:
            break
    each = (time.perf_counter() - begun) / done
    steps = max(1, math.ceil(rules.seconds / each))
    affordable = int(rules.budget / (each * steps))
    return Timing(steps), min(rules.blocks, max(rules.least, affordable))


def _accept_block(step: Step, timing: Timing, rules: Rules) -> None:
    """Add one block to the timing, or refuse the timing."""
    while not timing.refused:
        wall, cpu = _block(step, timing.steps)
        share = cpu / wall
        if rules.share <= share <= rules.most:
            timing.times.append(wall / timing.steps)
            timing.share = min(timing.share, share)
            return
        timing.repeated += 1
        if timing.repeated > rules.repeats:
            if share > rules.most:
                cause = "more than one thread ran"
            else:
                cause = "the core was shared; stop what else runs on this machine, or wait, and measure again"
            timing.refused = f"CPU time / wall was {share:.2f} after {rules.repeats} repeats: {cause}"


def _block(step: Step, steps: int) -> tuple[float, float]:
    """(wall, CPU) seconds of so many steps, after a few that bring the contender's data back into the caches."""
    for _ in range(steps // 8):
        step()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - wall, time.process_time() - cpu
