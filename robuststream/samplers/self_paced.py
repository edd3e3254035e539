"""Self-paced learning: easy examples first, ever harder ones with time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck


@dataclass
class SelfPaced(Sampler):
    """Deal the examples whose loss is below a bound that grows from epoch to epoch, until all are in.

    Paper: Kumar, Packer, Koller, NeurIPS 2010.
    Cost: N forwards an epoch to probe, until all are in; an epoch is as short as few are below the bound.
    Deviations: read in code for it (svm_struct_latent_spl.c, by defaults: half of the examples in at first, the bound 1.3 times
        as high each round, two rounds on all before), not in the paper. There each round trains to convergence, here for one
        epoch, after warmup_epochs on all. At least one mini-batch is always in.
    """

    first: float = hyper(0.5, above=0.0, high=1.0, help="share of the pool that the first bound lets in", search=(0.2, 0.9))
    growth: float = hyper(1.3, above=1.0, help="factor of the bound from epoch to epoch", search=(1.05, 2.0))
    warmup_epochs: int = hyper(1, low=0, help="epochs on all examples before the first bound")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.bound_: Tensor | None = None  # () nats
        self.loss_ = torch.full((pool.size,), torch.nan, device=pool.labels.device)  # at the last border
        self.all_in_ = False

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, lambda: self._next_epoch(probe)))

    def _next_epoch(self, probe: Probe) -> Tensor:
        """Who is in. May wait for the device: this is the epoch's border."""
        everyone = self.pool.everyone
        if self.all_in_ or self.deck_.epochs < self.warmup_epochs:
            return everyone
        self.loss_ = probe(everyone).loss
        rising = self.loss_.sort().values
        first = rising[max(1, round(self.first * self.pool.size)) - 1]
        self.bound_ = first if self.bound_ is None else self.bound_ * self.growth
        least = rising[self.pool.batch_size - 1]
        inside = (self.loss_ <= torch.maximum(self.bound_, least)).nonzero().squeeze(1)
        self.all_in_ = len(inside) == self.pool.size
        return inside

    def stored_values(self) -> Tensor:
        return self.loss_

    def counters(self) -> dict[str, Tensor | int]:
        return {"all_in": int(self.all_in_)}
