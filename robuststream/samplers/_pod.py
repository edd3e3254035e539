"""Probabilities of drawing (PoD): values that the older streaming methods normalise over the whole pool after every step."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Pool, Probe
from robuststream.samplers._streaming import Streaming

DECADES = 120.0
"""How far the tree's total may drift between two scalings; float64 leaves hold 154 on either side of 1."""


@dataclass
class PoD(Streaming):
    """Normalise without touching all N values: p_i is leaf_i / total, so a probability p is written as the leaf p * total.

    The total then grows by a factor a step; once in `scale_every` steps, counted on the host, all leaves are scaled back.
    """

    leaf_type = torch.float64

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.stores_ = 0
        self.scale_every = max(1, int(DECADES / math.log10(2.0 + self.largest_sum())))  # steps

    @abstractmethod
    def largest_sum(self) -> float:
        """A bound on the sum of the probabilities that one mini-batch can be given, before normalising."""

    def write(self, index: Tensor, probability: Tensor) -> None:
        """Give (m,) examples these probabilities beside those of the others, which sum to 1; then normalise all."""
        total = self.tree_.total
        self.tree_.update(index, self.clipped(probability.double() * torch.where(total > 0, total, 1.0)))
        self.stores_ += 1
        if self.stores_ % self.scale_every == 0:
            total = self.tree_.total
            self.tree_.scale(torch.where(total > 0, 1.0 / total, 1.0))

    @property
    def stores_shares(self) -> bool:
        return True

    def stored_values(self) -> Tensor | None:
        return self.tree_.probability() if self.valued_ else None
