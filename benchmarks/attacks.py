"""The inner loop of adversarial training: ours beside a bare one and torchattacks. `python benchmarks/attacks.py --help`"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from harness.machine import machine, one_thread
from harness.measure import Rules, Step, interleave
from harness.report import machine_section, table, targets_section, write
from harness.targets import Figure, Target, target
from torch import Tensor, nn
from training_step import Ratio

from robuststream.attacks import STANDARD, Strength, attack
from robuststream.contracts import Split
from robuststream.models._build import build
from robuststream.scenarios.adversarial_pgd import AdversarialPGD
from robuststream.study.allocator import keep_memory

RULES = Rules(blocks=51, seconds=0.04, budget=20.0, repeats=50)
QUICK_RULES = Rules(blocks=21, seconds=0.01, budget=1.0, repeats=20)
EPS = 0.1
BARE, OURS, THEIRS, BEHIND = "bare loop", "ours", "torchattacks", "torchattacks behind attacks.py"

METHOD = """One adversarial step: PGD of K steps from a random start on the whole mini-batch, then forward, backward and fused SGD
on what it found. Float32, one thread. `bare loop` is the least that computes PGD in eval mode: no draw is the run's own, and
modes are switched for the whole network at once. `ours` is the scenario `adversarial-pgd` as a run calls it. `torchattacks` is
its PGD as it comes, which leaves frozen modules changed and draws from the global generator; `behind attacks.py` puts these
back. All arms share one network and take turns, block by block. A figure is the median, over blocks, of an arm's time over the
bare loop's of the same round, with a 95% interval; a block counts only if its CPU time is at least 0.95 of its wall time."""


@dataclass(frozen=True)
class Cell:
    """Which network is attacked, on what, and for how many steps."""

    model: str
    side: int
    batch: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.model}, {self.side} x {self.side}, n = {self.batch}, K = {self.steps}"


CELLS = tuple(
    Cell(model, side, batch, steps) for model, side, batch in (("small-cnn", 8, 32), ("paper-cnn", 28, 32)) for steps in (1, 10)
)
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


def bare(steps: int) -> Attack:
    """PGD in as few operations as there are. In eval mode as in every arm: dropout would make this one the dearest."""
    alpha = 2.5 * EPS / steps

    def run(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        network.eval()
        found = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp_(0, 1)
        for _ in range(steps):
            found.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(found), labels), found)
            found = (images + (found.detach() + alpha * gradient.sign() - images).clamp_(-EPS, EPS)).clamp_(0, 1)
        network.train()
        return found

    return run


def ours(cell: Cell) -> Attack:
    scenario = AdversarialPGD(eps=EPS, steps=cell.steps)
    images = torch.zeros(1, 1, cell.side, cell.side, dtype=torch.uint8)
    labels = torch.zeros(1, dtype=torch.int64)
    scenario.start(Split(images, labels, labels, 10, "random", 1), torch.Generator().manual_seed(0))
    return scenario.perturb


def theirs(steps: int) -> Attack:
    from torchattacks import PGD

    def run(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return PGD(network, eps=EPS, alpha=2.5 * EPS / steps, steps=steps)(images, labels)

    return run


def behind(steps: int) -> Attack:
    strength = Strength(steps=steps, reach=STANDARD.reach)
    return lambda network, images, labels: attack("pgd", network, images, labels, EPS, 0, strength)


def arms(cell: Cell) -> dict[str, Step]:
    """A whole adversarial step for every way of attacking, on one network."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, cell.side, cell.side)
    images = torch.rand(cell.batch, *shape, generator=generator)
    labels = torch.randint(0, 10, (cell.batch,), generator=generator)
    network = build(
        cell.model,
        {},
        shape=shape,
        num_classes=10,
        mean=[0.5],
        std=[0.3],
        init_seed=0,
        dropout_generator=torch.Generator().manual_seed(0),
        device="cpu",
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, nesterov=True, fused=True)

    def step(attack: Attack) -> Step:
        def once() -> None:
            found = attack(network, images, labels)
            loss = F.cross_entropy(network(found), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return once

    ways = {BARE: bare(cell.steps), OURS: ours(cell), THEIRS: theirs(cell.steps), BEHIND: behind(cell.steps)}
    return {name: step(way) for name, way in ways.items()}


def measure(cells: Sequence[Cell], rules: Rules) -> dict[Cell, dict[str, Ratio]]:
    results = {}
    for cell in cells:
        timings = interleave(arms(cell), rules)
        results[cell] = {name: Ratio.of(timing, timings[BARE]) for name, timing in timings.items()}
    return results


def targets(results: dict[Cell, dict[str, Ratio]]) -> list[Target]:
    """What decides whether the inner loop is ours: torchattacks may cost a tenth of a step over the bare loop."""
    judged = []
    for name, limit in ((OURS, 1.1), (THEIRS, 1.1), (BEHIND, 1.1)):
        found = {cell: ratios[name] for cell, ratios in results.items()}
        figures = [
            Figure(ratio.value, limit, f"{cell.name}, 95%: {ratio.low:.3f} to {ratio.high:.3f}")
            for cell, ratio in found.items()
            if not ratio.refused
        ]
        missing = [f"{cell.name}: {ratio.refused}" for cell, ratio in found.items() if ratio.refused]
        judged.append(target(f"adversarial step, {name} / {BARE}", figures, reason="; ".join(missing[:2])))
    return judged


def tables(results: dict[Cell, dict[str, Ratio]]) -> str:
    header = ["", "ms per step", f"/ {BARE}", "95% interval", "blocks"]
    return "\n\n".join(f"## {cell.name}\n\n{table(header, list(map(_row, ratios.items())))}" for cell, ratios in results.items())


def _row(arm: tuple[str, Ratio]) -> list[str]:
    name, ratio = arm
    if ratio.refused:
        return [name, f"refused: {ratio.refused}", "", "", ""]
    interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
    return [name, f"{ratio.timing.median * 1e3:.3f}", f"{ratio.value:.3f}", interval, str(len(ratio.timing.times))]


def main(given: Sequence[str] | None = None, rules: Rules | None = None) -> None:
    """Measure, print a line per target, and write the report where that was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter blocks: within 45 seconds where the machine is quiet"
    )
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/attacks.md and attacks.json")
    chosen = parser.parse_args(given)
    begun = time.perf_counter()
    one_thread()
    facts: dict[str, Any] = {**machine(()), "memory_kept": keep_memory()}
    rules = rules or (QUICK_RULES if chosen.quick else RULES)
    results = measure(CELLS, rules)
    judged = targets(results)
    if not chosen.quick:
        print(tables(results))
    if chosen.write:
        cells = [{**vars(cell), "arms": {name: r.record() for name, r in ratios.items()}} for cell, ratios in results.items()]
        data = {"machine": facts, "rules": vars(rules), "targets": [t.record() for t in judged], "cells": cells}
        sections = ["# The inner loop of adversarial training", METHOD, targets_section(judged), tables(results)]
        print(f"written: {write('attacks', [*sections, machine_section(facts)], data).name}")
    print(*(target.line() for target in judged), sep="\n")
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
