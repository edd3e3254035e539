"""What the cells of draws.py say: tables, targets, and everything as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cells import Results
from contenders import FLOOR, OURS, PEERS
from contenders.ours import Native, PureTorch
from contenders.trees import TorchrlSampler
from harness.measure import Rules
from harness.report import table
from harness.targets import Figure, Target, target

Cell = tuple[int, int]  # (N, n)
EVERYONE = [contender.name for contender in (*OURS, *PEERS, FLOOR)]
MEMORY_FROM = 10**7  # below, what a process holds is not what its arrays take

METHOD = """Microseconds for one step: draw n of N examples with replacement in proportion to their values, then store new values
for what was drawn. Values are Exp(1). One thread, float32 leaves unless a peer says otherwise, each contender in its own kind of
array. Contenders alternate in one process, block by block; each block begins with a few steps that are not counted, so caches
are as warm as a loop that does nothing else keeps them. A cell is the median over blocks; a block counts only if its CPU time
is at least 0.95 of its wall time, and a cell that finds too few such blocks is refused. `n cache lines` is the floor: n random
numbers, and as many random lines of 64 bytes gathered from an array as large as float32 leaves."""


def tables(results: Results) -> str:
    """One table per n, who could not run and why, and memory."""
    sizes = sorted({size for size, _ in results.timings})
    parts = []
    for count in sorted({count for _, count in results.timings}):
        rows = [[name, *(_entry(results, name, (size, count)) for size in sizes)] for name in EVERYONE]
        parts.append(f"## n = {count:,}: microseconds\n\n" + table(_header(sizes), rows))
    large = [size for size in sizes if size >= MEMORY_FROM]
    if large:
        kept = [[name, *(_bytes(results, name, size) for size in large)] for name in EVERYONE]
        parts.append("## Bytes of memory per example\n\n" + table(_header(large), kept))
    return "\n\n".join([*parts, "## Who is who\n\n" + "\n".join(_introductions(results))])


def _header(sizes: Iterable[int]) -> list[str]:
    return ["", *(f"N = {size:,}" for size in sizes)]


def _entry(results: Results, name: str, cell: Cell) -> str:
    timing = results.timings[cell].get(name)
    if timing is None:
        return "absent" if name in results.absent else "-"
    if timing.refused:
        return "refused"
    few = f" ({len(timing.times)} blocks)" if len(timing.times) < 30 else ""
    return f"{timing.median * 1e6:,.1f}{few}"


def _bytes(results: Results, name: str, size: int) -> str:
    kept = results.bytes_each.get((name, size))
    return "-" if kept is None else f"{kept:.2f}"


def _introductions(results: Results) -> Iterable[str]:
    for contender in (*OURS, *PEERS, FLOOR):
        yield f"- {contender.name}: {contender.about}"
    for name, reason in results.absent.items():
        yield f"- absent: {name}: {reason}"
    for (name, size), reason in results.left_out.items():
        yield f"- not at N = {size:,}: {name}: {reason}"
    for (size, count), timings in results.timings.items():
        yield from (f"- refused at N = {size:,}, n = {count:,}: {name}: {t.refused}" for name, t in timings.items() if t.refused)


def targets(results: Results) -> list[Target]:
    """Every target of the issue, each with its figure in every cell that was measured."""
    native, torch, prioritized = Native.name, PureTorch.name, TorchrlSampler.name
    peers = [peer.name for peer in PEERS]

    def against(name: str, ours: str, others: list[str], limit: Callable[[Cell], float]) -> Target:
        figures, missing = _ratios(results, ours, others, limit)
        return target(name, figures, reason=missing)

    return [
        against("native / best peer", native, peers, lambda cell: 0.6 if cell == (10**7, 512) else 0.5),
        against("native / PrioritizedSampler", native, [prioritized], lambda cell: 0.2),
        _flatness(results, native),
        against("native / n random cache lines", native, [FLOOR.name], lambda cell: 3.0),
        _memory(results),
        against("pure torch / PrioritizedSampler", torch, [prioritized], lambda cell: 1.0),
    ]


def _seconds(results: Results, name: str, cell: Cell) -> float | str:
    """The median, or why there is none."""
    timing = results.timings.get(cell, {}).get(name)
    if timing is not None:
        return timing.refused or timing.median
    return results.absent.get(name) or results.left_out.get((name, cell[0])) or "not in this run"


def _ratios(results: Results, ours: str, others: list[str], limit: Callable[[Cell], float]) -> tuple[list[Figure], str]:
    """Ours / the fastest of the others, cell by cell; and the reason of the first cell that has no such ratio."""
    figures, missing = [], []
    for cell in results.timings:
        mine = _seconds(results, ours, cell)
        theirs = {name: _seconds(results, name, cell) for name in others}
        measured = {name: seconds for name, seconds in theirs.items() if isinstance(seconds, float)}
        where = f"N = {cell[0]:,}, n = {cell[1]:,}"
        if isinstance(mine, str):
            missing.append(f"{where}: {ours}: {mine}")
        elif not measured:
            name = others[-1]
            missing.append(f"{where}: {name}: {theirs[name]}")
        else:
            best = min(measured, key=measured.__getitem__)
            figures.append(Figure(mine / measured[best], limit(cell), f"{where}, {best}"))
    return figures, _shorten(missing)


def _shorten(missing: list[str]) -> str:
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return missing[0] + more if missing else ""


def _flatness(results: Results, name: str) -> Target:
    small, large = _seconds(results, name, (10**4, 128)), _seconds(results, name, (10**8, 128))
    title = "native, cost(1e8) / cost(1e4), n = 128"
    if isinstance(small, float) and isinstance(large, float):
        return target(title, [Figure(large / small, 3.0, "n = 128")], reason="")
    return target(title, [], reason=next(reason for reason in (small, large) if isinstance(reason, str)))


def _memory(results: Results) -> Target:
    ours = [contender.name for contender in OURS]
    kept = {key: each for key, each in results.bytes_each.items() if key[0] in ours and key[1] >= MEMORY_FROM}
    figures = [Figure(each, 5.0, f"{name}, N = {size:,}") for (name, size), each in kept.items()]
    return target("memory per example", figures, unit=" bytes", reason="" if figures else f"no N >= {MEMORY_FROM:,} in this run")


def record(results: Results, rules: Rules, judged: list[Target]) -> dict[str, Any]:
    """Everything, for JSON; times in seconds."""
    cells = [
        {"N": size, "n": count, "timings": {name: timing.record() for name, timing in timings.items()}}
        for (size, count), timings in results.timings.items()
    ]
    return {
        "rules": vars(rules),
        "targets": [each.record() for each in judged],
        "cells": cells,
        "bytes_per_example": [{"contender": name, "N": size, "bytes": b} for (name, size), b in results.bytes_each.items()],
        "absent": results.absent,
        "left_out": [{"contender": name, "N": size, "reason": why} for (name, size), why in results.left_out.items()],
    }
