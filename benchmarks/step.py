"""A training step with PLB or PEB beside the uniform step, and with peers. `python benchmarks/step.py --help`"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from typing import Any

import arms
from arms import BATCH, METHODS
from contenders import OURS, PEERS
from contenders.ours import Native, PureTorch
from harness.machine import machine, one_thread
from harness.measure import Rules
from harness.report import machine_section, table, targets_section, write
from harness.targets import Figure, Target, target
from training_step import CNN, MLP, RESIDENT, Network, Ratio, Task, compare

from robuststream.study.allocator import keep_memory

SIZES = (50_000, 10**6, 10**7)
CNN_SIZES = (50_000,)
RULES = Rules(blocks=101, seconds=0.04, budget=60.0, repeats=50)
QUICK_RULES = Rules(blocks=31, seconds=0.015, budget=2.0, repeats=30)

Results = dict[tuple[str, int], dict[str, Ratio]]  # (network, N) -> arm -> its ratio

METHOD = f"""One optimizer step of robuststream's loop on random images: draw {BATCH} of N examples, fetch them, forward,
backward, fused SGD, observe. Float32, one thread, memory kept as robuststream's workers keep it. `uniform` draws independent
indices and stores nothing. {RESIDENT:,} images are resident whatever N is: example i shows image i modulo {RESIDENT:,}. All arms
share one network, optimizer and process and take turns, block by block. A figure is the median, over blocks, of an arm's
time over the uniform time of the same round, with a 95% interval; a block counts only if its CPU time is at least 0.95 of
its wall time. PLB and PEB are robuststream's own samplers; peers store the loss, as PLB does."""


def measure(sizes: Sequence[int], cnn_sizes: Sequence[int], rules: Rules) -> tuple[Results, dict[str, str]]:
    """The MLP with everyone, the paper's network with our native form; and who could not run, with the reason."""
    results: Results = {}
    absent: dict[str, str] = {}
    for network, wanted, peers, forms in ((MLP, sizes, arms.PEERS, OURS), (CNN, cnn_sizes, (), (Native,))):
        task = Task(network) if wanted else None
        for size in wanted:
            assert task is not None
            there, missing = arms.arms(size, forms=forms, peers=peers)
            absent |= {f"{name} at N = {size:,}": reason for name, reason in missing.items()}
            results[network.kind, size] = compare(task, there, rules)
    return results, absent


def targets(results: Results, absent: dict[str, str]) -> list[Target]:
    return [
        _target("MLP step, native / uniform", results, absent, MLP, Native.name, 1.02),
        _target("MLP step, pure torch / uniform", results, absent, MLP, PureTorch.name, 1.15),
        _target("paper CNN step, native / uniform", results, absent, CNN, Native.name, 1.005),
    ]


def _target(name: str, results: Results, absent: dict[str, str], network: Network, form: str, limit: float) -> Target:
    figures, missing = [], [f"{who}: {why}" for who, why in absent.items() if form in who]
    for (kind, size), ratios in results.items():
        for method in METHODS:
            ratio = ratios.get(f"{method}, {form}")
            where = f"{method}, N = {size:,}"
            if kind != network.kind or ratio is None:
                continue
            if ratio.refused:
                missing.append(f"{where}: {ratio.refused}")
            else:
                figures.append(Figure(ratio.value, limit, f"{where}, 95%: {ratio.low:.4f} to {ratio.high:.4f}"))
    return target(name, figures, reason="; ".join(missing[:2]) or ("" if figures else "not in this run"))


def tables(results: Results, absent: dict[str, str]) -> str:
    """One table per network and N, and who is absent."""
    header = ["", "ms per step", "/ uniform", "95% interval", "blocks"]
    parts = []
    for (kind, size), ratios in results.items():
        rows = [[name, *_entries(ratio)] for name, ratio in ratios.items()]
        parts.append(f"## {kind}, N = {size:,}\n\n{table(header, rows)}")
    return "\n\n".join([*parts, *(["\n".join(f"- absent: {name}: {why}" for name, why in absent.items())] if absent else [])])


def _entries(ratio: Ratio) -> Iterable[str]:
    if ratio.refused:
        return [f"refused: {ratio.refused}", "", "", ""]
    interval = f"{ratio.low:.4f} to {ratio.high:.4f}"
    return [f"{ratio.timing.median * 1e3:.3f}", f"{ratio.value:.4f}", interval, str(len(ratio.timing.times))]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter blocks: within 45 seconds")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/step.md and step.json")
    parser.add_argument("--sizes", type=lambda text: int(float(text)), nargs="*", metavar="N", default=SIZES)
    parser.add_argument("--cnn-sizes", type=lambda text: int(float(text)), nargs="*", metavar="N", default=CNN_SIZES)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None, rules: Rules | None = None) -> None:
    """Measure, print a line per target, and write the report where that was asked."""
    begun = time.perf_counter()
    chosen = arguments(given)
    one_thread()
    facts: dict[str, Any] = {**machine(PEERS), "memory_kept": keep_memory()}
    rules = rules or (QUICK_RULES if chosen.quick else RULES)
    results, absent = measure(chosen.sizes, chosen.cnn_sizes, rules)
    judged = targets(results, absent)
    if not chosen.quick:
        print(tables(results, absent))
    if chosen.write:
        cells = [{"network": k, "N": n, "arms": {a: r.record() for a, r in ratios.items()}} for (k, n), ratios in results.items()]
        data = {"machine": facts, "rules": vars(rules), "targets": [t.record() for t in judged], "cells": cells, "absent": absent}
        sections = ["# A training step", METHOD, targets_section(judged), tables(results, absent), machine_section(facts)]
        print(f"written: {write('step', sections, data).name}")
    lines = [f"absent: {name}: {reason}" for name, reason in absent.items()]
    print(*lines, *(target.line() for target in judged), sep="\n")
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
