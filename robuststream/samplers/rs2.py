"""RS2: repeated random subsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck


@dataclass
class RS2(Sampler):
    """Each round, deal a fresh random subset of the pool once.

    Paper: Okanovic et al., ICLR 2024, arXiv 2305.18424; details from the released code, 99edfc8.
    Cost: one forward and one backward per presented example; nothing is probed.
    Deviations: its schedule, decayed within the rounds that are paid for, is what every method gets here (rule 2), so what
        remains is how subsets follow each other. across=without deals the pool to its end before any example returns: that is
        uniform.
    """

    keep: float = hyper(0.1, above=0.0, high=1.0, help="r: share of the pool in one round", search=(0.05, 0.5))
    across: str = hyper("with", choices=("with", "without"), help="are subsets of different rounds drawn with replacement?")

    @property
    def selects(self) -> bool:
        return False

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, self._next_round))

    def _next_round(self) -> Tensor:
        if self.across == "without":
            return self.pool.everyone
        everyone = self.pool.everyone
        shuffled = torch.randperm(len(everyone), generator=self.generator_, device=everyone.device)
        return shuffled[: max(1, round(self.keep * len(everyone)))]

    def draw_probability(self) -> Tensor:
        return torch.full((self.pool.size,), 1.0 / self.pool.size, device=self.pool.labels.device)
