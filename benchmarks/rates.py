"""The share of the machine's matrix-multiplication rate that training steps reach."""

from __future__ import annotations

import timeit
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


def product(dtype: torch.dtype, side: int = 0) -> Step:
    side, generator = side or SIDE, torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty(side, side, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def lacks_bf16() -> str:
    """Why bf16 cells say nothing about this machine; '' where it computes in bf16 as fast as in float32."""
    side, seconds = 256, {}
    for fast, dtype in PRECISIONS.items():
        step = product(dtype, side)
        step()
        seconds[fast] = min(timeit.repeat(step, number=1, repeat=5))
    rates = {fast: 2e-9 * side**3 / each for fast, each in seconds.items()}
    if rates[True] >= rates[False]:
        return ""
    return f"this machine does not compute in bf16 ({rates[True]:.1f} GFLOP/s in bf16, {rates[False]:.0f} in float32)"


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
