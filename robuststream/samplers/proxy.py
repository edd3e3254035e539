"""Proxy: a small network looks at everything and says what the large one learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robuststream.contracts import Batch, Pool, Probe, Sampler
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck


@dataclass
class Proxy(Sampler):
    """Of shuffled candidates, learn those with the largest losses under a small companion network, which learns along.

    Paper: none; the data filter of Jordan's airbench96_faster (cifar10-airbench, 2024), the public 96 % record on CIFAR-10.
    Cost: n / keep forwards a step through the companion, and n / learn_every forwards and backwards, at its own price.
    Deviations: there the companion is trained to its end first, with its losses from the training forward; here both networks
        learn side by side, from the same mini-batches, and indices are gathered where the record uses boolean masks.
    """

    keep: float = hyper(0.5, above=0.0, high=1.0, help="share of the candidates that is learned", search=(0.25, 0.9))
    model: str = hyper("mlp", help="architecture of the companion; empty is the recipe's own")
    learn_every: int = hyper(4, low=1, help="steps between two of the companion's own", search=(1, 16))

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.companion_ = probe.companion(self.model)
        self.steps_ = 0

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        candidates = self.deck_.deal(math.ceil(n / self.keep), lambda: self.pool.everyone)
        hardest = candidates[self.companion_(candidates).loss.topk(n).indices]
        if self.steps_ % self.learn_every == 0:
            self.companion_.learn(hardest, min(progress, 1.0))
        self.steps_ += 1
        return Batch(hardest)
