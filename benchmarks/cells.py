"""The cells of draws.py: every contender at every N and n, those of one N in memory at once and taking turns."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from contenders import FLOOR, OURS, PEERS, Contender
from harness.machine import available, resident
from harness.measure import Rules, Step, Timing, interleave

QUICK_LINEAR = 10**5  # the largest size at which a quick run waits for a peer that costs O(N)
QUICK_PEERS = 10**6  # the largest size at which it builds peers
ROUNDS = 16  # sets of new values, made beforehand and used in turn


@dataclass
class Results:
    """What was measured, by (N, n); and what was not, with the reason, by (contender, N) or by contender."""

    timings: dict[tuple[int, int], dict[str, Timing]] = field(default_factory=dict)
    bytes_each: dict[tuple[str, int], float] = field(default_factory=dict)  # (contender, N) -> resident bytes per example
    absent: dict[str, str] = field(default_factory=dict)  # cannot run here
    left_out: dict[tuple[str, int], str] = field(default_factory=dict)  # cannot run, or not wanted, at this size


def measure(sizes: Sequence[int], counts: Sequence[int], rules: Rules, quick: bool) -> Results:
    """All cells, size by size; every contender of a size is in memory at once and they take turns."""
    results = Results()
    results.absent = {each.name: reason for each in (*OURS, *PEERS) if (reason := each.missing())}
    present = [each for each in (*OURS, FLOOR, *PEERS) if each.name not in results.absent]
    for size in sizes:
        values = torch.empty(size).exponential_(generator=torch.Generator().manual_seed(size))
        ready = _build(present, values, quick, results)
        for n in counts:
            steps = {contender.name: step(contender, n) for contender in ready}
            results.timings[size, n] = interleave(steps, rules)
        del ready, steps, values
        gc.collect()
    return results


def _build(present: Sequence[type[Contender]], values: torch.Tensor, quick: bool, results: Results) -> list[Contender]:
    """Whoever can run at this size, with the memory that each keeps."""
    ready = []
    for contender in present:
        reason = _not_at(contender, len(values), quick)
        if reason:
            results.left_out[contender.name, len(values)] = reason
            continue
        before = resident()
        ready.append(contender(values, seed=1))
        after = resident()
        if before is not None and after is not None:
            results.bytes_each[contender.name, len(values)] = (after - before) / len(values)
    return ready


def _not_at(contender: type[Contender], size: int, quick: bool) -> str:
    """Why this contender does not run at this size; '' where it does."""
    if contender.limit is not None and size > contender.limit:
        return f"at most {contender.limit:,} examples"
    if quick and contender in PEERS and size > QUICK_PEERS:
        return f"--quick builds no peer above {QUICK_PEERS:,}"
    if quick and contender.linear and size > QUICK_LINEAR:
        return f"costs O(N): not above {QUICK_LINEAR:,} with --quick"
    if contender.room * size > 0.8 * available():
        return "not enough memory"
    return ""


def step(contender: Contender, n: int) -> Step:
    """One draw of n and one update of what was drawn, with new Exp(1) values."""
    generator = torch.Generator().manual_seed(n)
    values = [contender.array(torch.empty(n).exponential_(generator=generator)) for _ in range(ROUNDS)]
    following = itertools.cycle(values).__next__

    def draw_and_update() -> None:
        contender.update(contender.draw(n), following())

    return draw_and_update
