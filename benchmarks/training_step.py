"""The training steps of step.py: one network, one optimizer and one resident block of images, whoever chooses the mini-batch."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from arms import Arm, no_probe
from harness.measure import Rules, Step, Timing, interleave
from scipy.stats import binom

from robuststream.contracts import Signals, Split
from robuststream.data.batches import Batches
from robuststream.models._build import build

RESIDENT = 50_000  # images in memory; example i shows image i modulo this
UNIFORM = "uniform"


@dataclass(frozen=True)
class Network:
    """Which network is trained, by its name in robuststream.models."""

    kind: str
    num_classes: int


MLP = Network("mlp", 10)
CNN = Network("paper-cnn", 26)


@dataclass(frozen=True)
class Ratio:
    """An arm's step over the uniform step: the median of paired ratios, with a 95% interval from their order."""

    timing: Timing
    refused: str = ""
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @staticmethod
    def of(timing: Timing, uniform: Timing) -> Ratio:
        if timing.refused or uniform.refused:
            return Ratio(timing, timing.refused or f"the uniform step was refused: {uniform.refused}")
        ratios = sorted(ours / theirs for ours, theirs in zip(timing.times, uniform.times, strict=False))
        rank = int(binom.ppf(0.025, len(ratios), 0.5))
        return Ratio(timing, "", statistics.median(ratios), ratios[rank], ratios[-1 - rank])

    def record(self) -> dict[str, Any]:
        """For JSON."""
        if self.refused:
            return {"refused": self.refused}
        return {"ratio": self.value, "low": self.low, "high": self.high, **self.timing.record()}


class Task:
    """Random images and labels, a network that learns them, and one step for any arm: robuststream's loop, off its ledger."""

    def __init__(self, network: Network) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (RESIDENT, 1, 28, 28), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, network.num_classes, (RESIDENT,), generator=generator)
        self.data = Batches(Split(images, labels, torch.arange(RESIDENT), network.num_classes, "random", RESIDENT))
        self.network = build(
            network.kind,
            {},
            shape=(1, 28, 28),
            num_classes=network.num_classes,
            mean=[0.5],
            std=[0.3],
            init_seed=0,
            dropout_generator=torch.Generator().manual_seed(0),
            device="cpu",
        )
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)

    def step(self, arm: Arm) -> Step:
        """Draw, fetch, forward, backward, step, observe."""

        def once() -> None:
            index = arm.draw(no_probe, 0.0).index
            images, labels = self.data.fetch(index % RESIDENT)
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels, reduction="none")
            self.optimizer.zero_grad(set_to_none=True)
            loss.mean().backward()
            self.optimizer.step()
            arm.observe(Signals.of(index, labels, logits, loss))

        return once


def compare(task: Task, arms: dict[str, Arm], rules: Rules) -> dict[str, Ratio]:
    """All arms in turn, each against the uniform block of the same round."""
    gc.collect()
    timings = interleave({name: task.step(arm) for name, arm in arms.items()}, rules)
    return {name: Ratio.of(timing, timings[UNIFORM]) for name, timing in timings.items()}
