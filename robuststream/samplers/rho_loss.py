"""RHO-Loss: learn what is learnable and not yet learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Companion, Pool, Probe, Sampler
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck


@dataclass
class RHOLoss(Sampler):
    """Of shuffled candidates, learn those whose loss exceeds most their irreducible loss, that of a network which never saw them.

    Paper: Mindermann et al., ICML 2022 (arXiv 2206.07137), equation 3 and, for two halves that judge each other, section 3.
    Cost: n / keep forwards a step to probe; once, il_epochs epochs through companion networks and N forwards through them.
    Deviations: no hold-out set is taken from the pool: two companions learn one half each and judge the other (the paper's
        variant without a hold-out). They are of the recipe's own architecture, or smaller by name, trained il_epochs epochs
        with the recipe's schedule, and charged. Candidates are probed in the recipe's probe_mode (the released code: train mode).
    """

    keep: float = hyper(0.1, above=0.0, high=1.0, help="share of the candidates that is learned", search=(0.1, 0.7))
    il_epochs: float = hyper(
        2.0, above=0.0, help="epochs of each companion over its half, for the irreducible losses", search=(0.5, 4.0)
    )
    il_model: str = hyper("", help="architecture of the companions; empty is the recipe's own")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.first_, self.second_ = probe.companion(self.il_model), probe.companion(self.il_model)
        self.irreducible_: Tensor | None = None  # (N,) nats

    def draw(self, probe: Probe, progress: float) -> Batch:
        if self.irreducible_ is None:
            self.irreducible_ = self._judge_each_other()
        n = self.pool.batch_size
        candidates = self.deck_.deal(math.ceil(n / self.keep), lambda: self.pool.everyone)
        reducible = probe(candidates).loss - self.irreducible_[candidates]
        return Batch(candidates[reducible.topk(n).indices])

    def _judge_each_other(self) -> Tensor:
        """(N,) the loss of every example under the companion that has not learned from it."""
        pool = self.pool
        order = torch.randperm(pool.size, generator=self.generator_, device=pool.labels.device)
        halves = order[: pool.size // 2], order[pool.size // 2 :]
        losses = torch.empty(pool.size, device=order.device)
        for companion, own, other in ((self.first_, *halves), (self.second_, *halves[::-1])):
            self._educate(companion, own)
            losses[other] = companion(other).loss
        return losses

    def _educate(self, companion: Companion, half: Tensor) -> None:
        deck = Deck(self.generator_)
        n = min(self.pool.batch_size, len(half))
        steps = max(1, round(self.il_epochs * len(half) / n))
        for step in range(steps):
            companion.learn(deck.deal(n, lambda: half), progress=step / steps)
