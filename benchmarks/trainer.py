"""robuststream's training step beside the bare step, the loops that people write, and the machine. `trainer.py --help`"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import disk
import ledgers
import rates
from harness.machine import machine, one_thread
from harness.measure import Rules, Step, Timing, busy, interleave
from harness.report import machine_section, table, targets_section, write
from ledgers import Ledgers
from loops import Loops, Task
from rates import Share
from trainer_targets import BARE, LOADER, OURS, WEIGHTED, Steps, targets
from training_step import Ratio

from robuststream.samplers.plb import PLB
from robuststream.samplers.uniform import Uniform
from robuststream.study.allocator import keep_memory

T = TypeVar("T")

RULES = Rules(blocks=41, seconds=0.04, budget=150.0, least=31, repeats=100)
QUICK_RULES = Rules(blocks=31, seconds=0.006, budget=0.8, least=7, repeats=4)

MLP, CNN = Task("mlp", 128, channels_last=False), Task("paper-cnn", 128, fast=True)
RESNET = Task("resnet18", 32, data="cifar10", width=64, augmented=True, fast=True)
NARROW = replace(RESNET, width=8)

QUICK = (
    *(replace(MLP, batch=batch) for batch in (32, 128, 512)),
    *(replace(each, train_size=10_000) for each in (replace(MLP, augmented=True), CNN, NARROW)),
)
FULL = (
    *(replace(MLP, batch=b, augmented=a, fast=f) for f in (False, True) for a in (False, True) for b in (32, 128, 512)),
    *(replace(CNN, batch=batch, fast=fast) for fast in (False, True) for batch in (32, 128, 512)),
    *(replace(RESNET, width=16, batch=batch) for batch in (32, 128, 512)),
    RESNET,
)
# No narrow network here: products of so few channels are far from the machine's rate whoever computes them.
QUICK_RATES = tuple(replace(each, fast=fast, train_size=10_000) for each in (MLP, CNN) for fast in (False, True))
FULL_RATES = tuple(
    replace(each, batch=b, fast=f) for each, b in ((MLP, 128), (MLP, 512), (CNN, 128), (RESNET, 32)) for f in (False, True)
)
QUICK_DISK = (Task("small-cnn", 128, train_size=10_000),)
FULL_DISK = (MLP, CNN, replace(RESNET, width=16, augmented=True))
EPOCH_SIZE = ledgers.EPOCH * 128
SMALL = Task("small-cnn", 128, train_size=EPOCH_SIZE)
# (task, few): where time is short a few samplers, on the network of the shorter step.
QUICK_LEDGERS = ((SMALL, True),)
FULL_LEDGERS = ((SMALL, False), (replace(CNN, train_size=EPOCH_SIZE), False))

METHOD = """One thread; float32 or, where it says bf16, bf16 autocast; convolutional networks in channels-last memory. Memory is
kept as robuststream's workers keep it, for every arm alike. All arms of a cell run in one process and take turns, block by
block; a figure is the median, over at least 31 rounds, of the ratio of two blocks of one round. A block counts only if its CPU
time is at least 0.95 of its wall time. `uniform` and `PLB` are the function that robuststream's runs call for every step. The
bare step is the floor: the same network in the same precision under torch's fused SGD, ten lines as its documentation writes
them, on one batch that lies ready; ours takes the same steps to the bit, and calls torch's kernels without what is around them.
The DataLoader loops are what people write: torchvision's data set with its PIL transforms in the same process, float32, a
network (in torch's own memory format) and an optimizer of their own, the loss read at every step; with WeightedRandomSampler,
sampler and loader are made anew after every update of the weights. Images are real where they are at hand."""


def compare(task: Task, folder: Path, rules: Rules) -> dict[str, Timing]:
    """All arms of one cell. The loops that people write take part at batch 128."""
    loops = Loops(task, folder)
    arms: dict[str, Step] = {BARE: loops.bare(), "uniform": loops.ours(Uniform()), "PLB": loops.ours(PLB())}
    if task.batch == 128 and task.model == "paper-cnn":
        arms |= {LOADER: loops.data_loader(folder), WEIGHTED: loops.weighted_loader(folder)}
    return interleave(arms, rules)


def steps_table(steps: Steps) -> str:
    header = ["", "bare, ms", *(f"{arm} / bare, throughput" for arm in OURS), f"uniform / {LOADER}", f"PLB / {WEIGHTED}"]
    rows = []
    for task, timings in steps.items():
        bare = timings[BARE]
        beside = [_ratio(timings[BARE], timings[arm]) for arm in OURS]
        people = [_ratio(timings.get(peer), timings[arm]) for peer, arm in zip((LOADER, WEIGHTED), OURS, strict=True)]
        rows.append([task.name, "refused" if bare.refused else f"{bare.median * 1e3:.3f}", *beside, *people])
    return "## Steps\n\n" + table(header, rows)


def _ratio(theirs: Timing | None, ours: Timing) -> str:
    if theirs is None:
        return "-"
    ratio = Ratio.of(theirs, ours)
    return "refused" if ratio.refused else f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def rates_table(shares: dict[Task, Share]) -> str:
    rows = [
        [task.name, f"{share.flops / 1e9:.3g}", "refused" if share.product_over_step.refused else f"{share.value:.0%}"]
        for task, share in shares.items()
    ]
    title = f"## Share of the rate of a {rates.SIDE} x {rates.SIDE} product in the same precision, uniform step"
    return f"{title}\n\n" + table(["", "GFLOP per step", "share"], rows)


def disk_table(stored: dict[tuple[Task, str], Ratio]) -> str:
    rows = [
        [task.name, arm, "refused" if r.refused else f"{r.value:.3f} ({r.low:.3f} to {r.high:.3f})"]
        for (task, arm), r in stored.items()
    ]
    return "## Throughput from disk / from memory\n\n" + table(["", "sampler", "ratio"], rows)


def ledgers_table(each: Ledgers) -> str:
    title = f"## Samplers: an epoch of {ledgers.EPOCH} steps over the uniform one, {each.task.name}\n\n"
    if each.refused:
        return f"{title}refused: {each.refused}"
    rows = [
        [
            name,
            "refused" if c.timed.refused else f"{c.timed.value:.3f}",
            f"{c.charged:.3f}",
            f"{c.gap:+.1%}" * (not c.timed.refused),
        ]
        for name, c in each.samplers.items()
    ]
    return title + table(["", "timed", "charged by the ledger", "gap"], rows)


def record(
    steps: Steps, shares: dict[Task, Share], stored: dict[tuple[Task, str], Ratio], found: list[Ledgers]
) -> dict[str, Any]:
    """Everything, for JSON; times in seconds."""
    return {
        "steps": [{"cell": task.name, "arms": {a: t.record() for a, t in arms.items()}} for task, arms in steps.items()],
        "rates": [{"cell": t.name, "flops": s.flops, "product / step": s.product_over_step.record()} for t, s in shares.items()],
        "disk": [{"cell": t.name, "sampler": arm, "memory / disk": r.record()} for (t, arm), r in stored.items()],
        "samplers": [
            {"cell": e.task.name, "sampler": n, "charged": c.charged, **c.timed.record()}
            for e in found
            for n, c in e.samplers.items()
        ],
    }


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells, narrower networks, shorter blocks: within 45 seconds")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/trainer.md and trainer.json")
    return parser.parse_args(given)


def told(what: str, measured: T) -> T:
    """Passes it on, and says so: a full run takes half an hour."""
    print(f"measured: {what}", file=sys.stderr, flush=True)
    return measured


def main(
    given: Sequence[str] | None = None,
    rules: Rules | None = None,
    cells: tuple[Sequence[Task], Sequence[Task], Sequence[tuple[Task, bool]], Sequence[Task]] | None = None,
) -> None:
    """Measure, print a line per target, and write the report where that was asked."""
    begun, chosen = time.perf_counter(), arguments(given)
    one_thread()
    facts: dict[str, Any] = {**machine(()), "memory_kept": keep_memory()}
    if warning := busy():
        print(warning, file=sys.stderr, flush=True)
    rules = rules or (QUICK_RULES if chosen.quick else RULES)
    tasks, of_rates, of_ledgers, on_disk = cells or (
        (QUICK, QUICK_RATES, QUICK_LEDGERS, QUICK_DISK) if chosen.quick else (FULL, FULL_RATES, FULL_LEDGERS, FULL_DISK)
    )
    if no_bf16 := rates.lacks_bf16():
        # What is advised is then float32, and that is measured in its place.
        tasks, on_disk = (list(dict.fromkeys(replace(t, fast=False) for t in each)) for each in (tasks, on_disk))
        of_ledgers = [(replace(task, fast=False), few) for task, few in of_ledgers]
        of_rates = [task for task in of_rates if not task.fast]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = {task: told(task.name, compare(task, folder, rules)) for task in tasks}
        shares = told("shares of the product rate", rates.shares(of_rates, folder, rules))
        stored = told("throughput from disk", disk.compare(on_disk, folder, rules))
        found = [told(f"samplers, {task.name}", ledgers.compare(task, folder, rules, few)) for task, few in of_ledgers]
    judged = targets(steps, shares, stored, found, no_bf16)
    sections = [steps_table(steps), rates_table(shares), disk_table(stored), *map(ledgers_table, found)]
    if not chosen.quick:
        print(*sections, sep="\n\n")
    if chosen.write:
        data = {
            "machine": facts,
            "rules": vars(rules),
            "targets": [t.record() for t in judged],
            **record(steps, shares, stored, found),
        }
        parts = ["# The trainer", METHOD, targets_section(judged), *sections, machine_section(facts)]
        print(f"written: {write('trainer', parts, data).name}")
    print(*(target.line() for target in judged), f"{time.perf_counter() - begun:.0f} s", sep="\n")


if __name__ == "__main__":
    main()
