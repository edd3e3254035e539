"""Adaptive-k: learn what is not above a moving average of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robuststream.contracts import Batch, Pool, Probe
from robuststream.hyperparameters import hyper
from robuststream.samplers._candidates import FromCandidates, largest, shares

DECAY_OF_MEAN, DECAY_OF_SQUARE, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class AdaptiveK(FromCandidates):
    """Of n shuffled candidates, learn those whose loss is at most a moving average of the mean loss; no noise rate is needed.

    Paper: Dedeoglu et al., 2022, arXiv 2203.14165; bound and schedule from the released notebook, 9794b94.
    Cost: n forwards a step to probe, after the vanilla part, and a step of those kept; with fixed_shapes a whole step of n.
    Deviations: where no candidate is kept, the smallest loss is learned (there: an error); the vanilla part, 30 of 80 epochs
        there, is a share of the budget. As there, the bound m / sqrt(v) has no unit, m and v being averages of the mean loss
        and of its square that start at 0. The paper's own text was not read.
    """

    vanilla: float = hyper(
        0.375, low=0.0, high=1.0, help="spent share of the budget until which all candidates are learned", search=(0.1, 0.7)
    )
    fixed_shapes: bool = hyper(False, help="learn all n, those above the bound with weight 0")

    @property
    def waits_for_host(self) -> str:
        return "" if self.fixed_shapes else "how many candidates are kept depends on their losses"

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.mean_ = torch.zeros((), dtype=torch.float64, device=pool.labels.device)  # m
        self.square_ = torch.zeros((), dtype=torch.float64, device=pool.labels.device)  # v

    def draw(self, probe: Probe, progress: float) -> Batch:
        candidates = self.candidates(self.pool.batch_size)
        if progress < self.vanilla:
            return Batch(candidates)
        loss = probe(candidates).loss.double()
        mean = loss.mean()
        self.mean_ = DECAY_OF_MEAN * self.mean_ + (1 - DECAY_OF_MEAN) * mean
        self.square_ = DECAY_OF_SQUARE * self.square_ + (1 - DECAY_OF_SQUARE) * mean**2
        kept = loss <= self.mean_ / (self.square_.sqrt() + EPSILON)
        kept = kept.index_fill(0, largest(-loss, 1), True)
        return Batch(candidates, shares(kept)) if self.fixed_shapes else Batch(candidates[kept])
