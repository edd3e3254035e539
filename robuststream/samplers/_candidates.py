"""Candidates: what every method begins with that looks at more examples than it learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Pool, Probe, Sampler
from robuststream.samplers._deck import Deck


@dataclass
class FromCandidates(Sampler):
    """Deals shuffled candidates, every example once an epoch; a subclass says which of them are learned."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)

    def candidates(self, count: int) -> Tensor:
        """The next (count,) indices of the shuffled pool."""
        return self.deck_.deal(count, lambda: self.pool.everyone)


def shares(chosen: Tensor) -> Tensor:
    """(m,) float32 weights that make the mean over m examples the mean over the `chosen` (m,) bool among them.

    Learning all with these weights learns the chosen ones, in fixed shapes: the device need not say how many they are.
    """
    return chosen * (len(chosen) / chosen.sum(dtype=torch.float32).clamp(min=1.0))


def largest(values: Tensor, count: int) -> Tensor:
    """(count,) the places of the largest of (m,) values, largest first; equal ones in their order, on every device."""
    return values.argsort(descending=True, stable=True)[:count]
