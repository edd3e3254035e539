"""ResNet-18 on a GPU: our step beside the bare step, and beside the loops of timm and composer.

    python benchmarks/images.py                                  # what is at hand
    python benchmarks/images.py --timm train.py --write          # timm's own train.py, of the installed version

It needs no peer: one that does not import is named with its reason. On a CPU (--device cpu) it runs, and says little.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from harness.machine import machine
from harness.measure import Rules, Step, Timing, interleave
from harness.peers import load_script
from harness.report import machine_section, table, targets_section, write
from harness.targets import AtLeast, Figure, Target
from loops import Loops, Task
from torch import Tensor, nn
from training_step import Ratio

from robuststream.samplers.plb import PLB
from robuststream.samplers.uniform import Uniform
from robuststream.study.process import settle

RESNET = Task("resnet18", 128, data="cifar10", augmented=True, fast=True, device="cuda")
BATCHES = (128, 512, 1024)
STEPS = 20  # that the device is asked for before it is waited for
RULES = Rules(blocks=31, seconds=0.1, budget=20.0, least=31, share=0.0, most=float("inf"))
BARE, TIMM, COMPOSER = "bare step", "timm's loop", "composer's loop"
OURS = ("uniform", "PLB")

METHOD = f"""ResNet-18 with the stem for small images, on CIFAR-10 in bf16 autocast and channels-last memory. A block is at
least {STEPS} steps, and ends when the device has done them; blocks of all arms take turns, and a figure is the median of the
ratios of two blocks of one round. `uniform` and `PLB` are the function that our runs call for every step, with a crop and a
flip drawn for every example. The bare step has the same network and torch's fused SGD, on one batch that lies ready on the
device. timm's and composer's loops are their own code on the same network, precision and optimizer, fed with that same
batch: they are spared what loading costs. Compiled, ours and the bare step alike are compiled by torch and replayed as CUDA
graphs."""


def arms(task: Task, folder: Path, timm: Path | None) -> tuple[dict[str, Step], dict[str, str]]:
    """Whoever runs here, and the reasons of those who do not."""
    loops = Loops(task, folder)
    there: dict[str, Step] = {BARE: loops.bare(), "uniform": loops.ours(Uniform()), "PLB": loops.ours(PLB())}
    absent: dict[str, str] = {}
    if not task.compiled:
        for name, make in ((TIMM, lambda: timms(loops, timm)), (COMPOSER, lambda: composers(loops))):
            try:
                there[name] = make()
                there[name]()
            except Exception as reason:  # of foreign code, of any version: it is named, and the others are measured
                there.pop(name, None)
                absent[name] = f"{type(reason).__name__}: {reason}"
    return {name: waited_for(step, task.device, 1 if name in (TIMM, COMPOSER) else STEPS) for name, step in there.items()}, absent


def waited_for(step: Step, device: str, times: int) -> Step:
    def block() -> None:
        for _ in range(times):
            step()
        if device != "cpu":
            torch.cuda.synchronize()

    return block


@dataclass
class Again:
    """A loader: the same mini-batch STEPS times."""

    batch: tuple[Tensor, Tensor]

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return itertools.repeat(self.batch, STEPS)


def timms(loops: Loops, script: Path | None) -> Step:
    """An epoch of STEPS steps of `train_one_epoch` from timm's train.py."""
    if script is None:
        raise ImportError("no train.py of timm was given; see --timm")
    from timm.task import ClassificationTask  # pyright: ignore[reportMissingImports]

    theirs = load_script(script)
    network, optimizer = loops.world.bare.network, loops.torchs_sgd()
    chosen = theirs.parser.parse_args(["nowhere", "--no-prefetcher", "--channels-last", "--log-interval", str(STEPS + 1)])
    vars(chosen).update(distributed=False, world_size=1, rank=0, local_rank=0, prefetcher=False)
    device, task = torch.device(loops.task.device), ClassificationTask(network, nn.CrossEntropyLoss(), verbose=False)
    loader = Again(loops.ready())
    return lambda: theirs.train_one_epoch(
        0, network, loader, optimizer, chosen, task=task, device=device, amp_autocast=loops.computed, model_dtype=torch.float32
    )


def composers(loops: Loops) -> Step:
    """STEPS batches of composer's Trainer."""
    from composer import Trainer  # pyright: ignore[reportMissingImports]
    from composer.models import ComposerModel  # pyright: ignore[reportMissingImports]

    network = loops.world.bare.network

    class Model(ComposerModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.network(batch[0])

        def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor], *_: Any, **__: Any) -> Tensor:
            return F.cross_entropy(outputs, batch[1])

    trainer = Trainer(
        model=Model(),
        train_dataloader=Again(loops.ready()),
        optimizers=loops.torchs_sgd(),
        max_duration="1ba",
        precision="amp_bf16" if loops.task.fast else "fp32",
        device="cpu" if loops.task.device == "cpu" else "gpu",
        progress_bar=False,
        log_to_console=False,
        auto_log_hparams=False,
        device_train_microbatch_size=loops.task.batch,
    )
    return lambda: trainer.fit(duration=f"{STEPS}ba")


Found = dict[Task, dict[str, Timing]]


def targets(found: Found) -> list[Target]:
    """Ours beside the bare step; beside their loops no less than one."""
    beside = [(peer, 0.95 if peer == BARE else 1.0) for peer in (BARE, TIMM, COMPOSER)]
    return [_target(peer, limit, found) for peer, limit in beside]


def _target(peer: str, limit: float, found: Found) -> Target:
    figures = [
        Figure(Ratio.of(timings[peer], timings[arm]).value, limit, f"{arm}, {task.name}")
        for task, timings in found.items()
        if peer in timings
        for arm in OURS
    ]
    return AtLeast(f"throughput / {peer}, resnet18", tuple(figures), reason="" if figures else "it did not run here")


def images_table(found: Found) -> str:
    rows = []
    for task, timings in found.items():
        for arm, timing in timings.items():
            ratio = Ratio.of(timings[BARE], timing)
            rate = task.batch * STEPS / timing.median
            rows.append([task.name, arm, f"{rate:,.0f}", f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"])
    return "## Images per second\n\n" + table(["", "arm", "images / s", "throughput / bare step"], rows)


def main(given: Sequence[str] | None = None, task: Task = RESNET, rules: Rules = RULES) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--timm", type=Path, metavar="FILE", help="timm's train.py")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/images.md and images.json")
    chosen = parser.parse_args(given)
    settle(torch.get_num_threads())
    found: Found = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for compiled, batch in itertools.product((False, True), chosen.batches):
            cell = replace(task, batch=batch, device=chosen.device, compiled=compiled)
            steps, missing = arms(cell, Path(folder), chosen.timm)
            absent |= missing
            found[cell] = interleave(steps, rules)
            print(f"measured: {cell.name}", file=sys.stderr, flush=True)
    facts: dict[str, Any] = {**machine((), chosen.device), **absent}
    judged = targets(found)
    if chosen.write:
        record = [{"cell": t.name, "arms": {a: timing.record() for a, timing in arms.items()}} for t, arms in found.items()]
        data = {"machine": facts, "targets": [t.record() for t in judged], "cells": record}
        sections = ["# ResNet-18 on a GPU", METHOD, targets_section(judged), images_table(found), machine_section(facts)]
        print(f"written: {write('images', sections, data).name}")
    left_out = [f"{name} did not run: {reason}" for name, reason in absent.items()]
    print(images_table(found), *left_out, *(t.line() for t in judged), sep="\n")


if __name__ == "__main__":
    main()
