"""The share of the machine's matrix-multiplication rate that training steps reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from harness.measure import Rules, Step, interleave
from loops import Loops, Task
from training_step import Ratio

from robuststream.samplers.uniform import Uniform

SIDE = 2048
PRECISIONS = {False: torch.float32, True: torch.bfloat16}  # by Task.fast


@dataclass(frozen=True)
class Share:
    """FLOPs of a step by the ledger's count, and its time beside that of a square product in the same precision."""

    flops: float
    product_over_step: Ratio

    @property
    def value(self) -> float:
        return self.flops / (2.0 * SIDE**3) * self.product_over_step.value


def product(dtype: torch.dtype) -> Step:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty(SIDE, SIDE, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def shares(tasks: Sequence[Task], folder: Path, rules: Rules) -> dict[Task, Share]:
    """The uniform step of every task, and the product in each precision that they use, in turn."""
    if not tasks:
        return {}
    loops = {task: Loops(task, folder) for task in tasks}
    steps = {task.name: each.ours(Uniform()) for task, each in loops.items()}
    products = {str(PRECISIONS[fast]): product(PRECISIONS[fast]) for fast in sorted({task.fast for task in tasks})}
    timings = interleave({**products, **steps}, rules)
    found = {}
    for task, each in loops.items():
        cost = each.world.ledger.cost
        ratio = Ratio.of(timings[str(PRECISIONS[task.fast])], timings[task.name])
        found[task] = Share(task.batch * (cost.forward + cost.backward), ratio)
    return found
