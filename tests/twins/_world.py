"""Fake networks: one that a sampler and its twin share, with their random numbers; and two that dictate losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robuststream.contracts import Pool, Signals
from twins._shared import TwinSignals

Asked = list[tuple[list[int], str]]


class FakeNetwork:
    """Logits as a pure function of (index, how many passes came before, mode, place in the pass).

    They drift from pass to pass; in train mode a dropout-like factor makes two drawings of one example differ.
    """

    def __init__(self, size: int, num_classes: int = 5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.labels = rng.integers(num_classes, size=size)
        self.level = rng.normal(size=(size, num_classes))
        self.level[np.arange(size), self.labels] += rng.uniform(-1, 6, size)
        self.phase = rng.uniform(0, 2 * np.pi, (size, num_classes))

    def logits(self, index: list[int], passes: int, mode: str) -> NDArray[np.float32]:
        z = self.level[index] + 1.5 * np.sin(passes / 40 + self.phase[index])
        if mode == "train":
            z = z * np.random.default_rng([self.seed, passes]).choice([0.5, 1.5], z.shape)
        return z.astype(np.float32)


@dataclass
class Net:
    """The fake network as one side meets it; it counts passes and remembers what it was probed for."""

    network: FakeNetwork
    asked: Asked = field(default_factory=list)
    passes: int = 0

    def _forward(self, index: list[int], mode: str) -> NDArray[np.float32]:
        self.passes += 1
        return self.network.logits(index, self.passes, mode)

    def train(self, index: Tensor) -> Signals:
        """The training forward pass of a mini-batch."""
        labels = torch.from_numpy(self.network.labels)[index]
        return Signals.of(index, labels, torch.from_numpy(self._forward(index.tolist(), "train")))

    def probe(self, index: Tensor, mode: Literal["eval", "train"] | None = None) -> Signals:
        self.asked.append((index.tolist(), mode or "eval"))
        labels = torch.from_numpy(self.network.labels)[index]
        return Signals.of(index, labels, torch.from_numpy(self._forward(index.tolist(), mode or "eval")))


class TwinNet(Net):
    """The same, for a twin."""

    def train(self, index: list[int]) -> TwinSignals:  # type: ignore[override]
        return TwinSignals(index, self.network.labels[index].tolist(), self._forward(index, "train"))

    def probe(self, index: list[int], mode: str | None = None) -> TwinSignals:  # type: ignore[override]
        self.asked.append((list(index), mode or "eval"))
        return TwinSignals(list(index), self.network.labels[index].tolist(), self._forward(index, mode or "eval"))


class TorchDice:
    """The random numbers that a sampler's generator gives, in the order in which they are asked for."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def permutation(self, n: int) -> list[int]:
        return torch.randperm(n, generator=self.generator).tolist()

    def uniform(self, n: int) -> list[float]:
        return torch.rand(n, generator=self.generator).tolist()

    def uniform64(self, n: int) -> list[float]:
        return torch.rand(n, generator=self.generator, dtype=torch.float64).tolist()

    def integers(self, high: int, n: int) -> list[int]:
        return torch.randint(high, (n,), generator=self.generator).tolist()


def pool_of(network: FakeNetwork, batch_size: int, seed: int) -> Pool:
    size, num_classes = network.level.shape
    return Pool(size, batch_size, num_classes, torch.from_numpy(network.labels), seed)


RIGHT, WRONG, UNSURE = (6.0, 0.0), (0.0, 6.0), (0.1, 0.0)
"""Logits under label 0. Confidence .998, .998 and .52."""


@dataclass
class Crafted:
    """A probe that answers with the losses (N,) and logits (N, 2) of a test; every label is 0."""

    loss: Tensor
    logits: Tensor
    asked: list[list[int]] = field(default_factory=list)

    def signals(self, index: Tensor) -> Signals:
        return Signals.of(index, torch.zeros_like(index), self.logits[index], self.loss[index])

    def __call__(self, index: Tensor, mode: str | None = None) -> Signals:
        self.asked.append(index.tolist())
        return self.signals(index)


def crafted(loss: Tensor, logits: list[tuple[float, float]] | Tensor | None = None) -> Crafted:
    """Everyone is right and confident unless logits are given."""
    return Crafted(loss.float(), torch.as_tensor([RIGHT] * len(loss) if logits is None else logits).float())


@dataclass
class Random:
    """A probe whose losses are fresh independent draws at every look: exponential, with this mean."""

    mean: float
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(5))
    looks: int = 0

    def __call__(self, index: Tensor, mode: str | None = None) -> Signals:
        self.looks += len(index)
        loss = torch.empty(len(index)).exponential_(1 / self.mean, generator=self.generator)
        return Signals.of(index, torch.zeros_like(index), torch.zeros(len(index), 2), loss)
