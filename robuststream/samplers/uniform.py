"""Uniform shuffling: the baseline that every speed-up is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler
from robuststream.samplers._deck import Deck


@dataclass
class Uniform(Sampler):
    """Deal every example once an epoch, in random order: the baseline.

    Paper: folklore; Bottou, 2009, on shuffling.
    Cost: one forward and one backward per presented example.
    Deviations: a mini-batch that an epoch cannot fill is filled from the next, so that its size never changes.
    """

    @property
    def selects(self) -> bool:
        return False

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, lambda: self.pool.everyone))

    def draw_probability(self) -> Tensor:
        return torch.full((self.pool.size,), 1.0 / self.pool.size, device=self.pool.labels.device)
