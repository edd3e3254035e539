"""Online batch selection: the chance to be drawn falls exponentially with the rank of the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.samplers._tables import write_largest


@dataclass
class LoshchilovHutter(Sampler):
    """Rank the pool by the latest known losses; draw with a chance that falls exponentially with rank, ever less steeply.

    Paper: Loshchilov and Hutter, 2015, arXiv 1511.06343.
    Cost: a uniform step; recompute_share N forwards whenever losses are recomputed; sorting N losses every sort_every examples.
    Deviations: read in public re-implementations, not in the paper, whose text was not at hand: the chance of rank i falls
        by exp(ln s / N) a rank, s from 100 to 1 geometrically (there by epoch, here by budget), sorted every 100 examples, all in
        the first epoch; losses of a share of the pool, hardest first, are recomputed every so many epochs. How often is set by
        the caller there; here never by default. Of an example drawn twice in a mini-batch the larger loss is kept.
    """

    pressure_from: float = hyper(
        100.0, low=1.0, help="s at the start: the largest chance over the smallest", search=(2.0, 1000.0)
    )
    pressure_to: float = hyper(1.0, low=1.0, help="s at the end of the budget")
    sort_every: int = hyper(100, low=1, help="examples learned between two sortings")
    recompute_every: float = hyper(0.0, low=0.0, help="epochs between two recomputations of losses; 0 for never")
    recompute_share: float = hyper(1.0, above=0.0, high=1.0, help="share of the pool, hardest first, whose losses are recomputed")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        device = pool.labels.device
        self.deck_ = Deck(self.generator_)
        self.uniform_left_ = math.ceil(pool.size / pool.batch_size)  # steps of the first epoch
        self.loss_ = torch.full((pool.size,), torch.inf, device=device)
        self.order_ = torch.arange(pool.size, device=device)  # by rank, hardest first
        self.log_pressure_ = 0.0
        self.unsorted_, self.uncomputed_ = self.sort_every, 0  # examples learned since

    def draw(self, probe: Probe, progress: float) -> Batch:
        n, N = self.pool.batch_size, self.pool.size
        if self.uniform_left_ > 0:
            self.uniform_left_ -= 1
            return Batch(self.deck_.deal(n, lambda: self.pool.everyone))
        if self.recompute_every > 0 and self.uncomputed_ >= self.recompute_every * N:
            self.observe(probe(self.order_[: max(1, round(self.recompute_share * N))]))
            self.unsorted_, self.uncomputed_ = self.sort_every, 0
        if self.unsorted_ >= self.sort_every:
            self.order_ = self.loss_.argsort(descending=True, stable=True)
            self.unsorted_ = 0
        self.unsorted_ += n
        self.uncomputed_ += n
        start, end = math.log(self.pressure_from), math.log(self.pressure_to)
        self.log_pressure_ = s = start + (end - start) * min(progress, 1.0)
        u = torch.rand(n, generator=self.generator_, dtype=torch.float64, device=self.order_.device)
        # The inverse of the chance to be of a lower rank: (1 - exp(-s i / N)) / (1 - exp(-s)).
        depth = u if s == 0 else torch.log1p(u * math.expm1(-s)) / -s
        return Batch(self.order_[(depth * N).long().clamp(max=N - 1)])

    def observe(self, signals: Signals) -> None:
        write_largest(self.loss_, signals.index, signals.loss)

    def stored_values(self) -> Tensor:
        return self.loss_

    def draw_probability(self) -> Tensor:
        rank = torch.arange(self.pool.size, dtype=torch.float64, device=self.order_.device)
        chance = (-self.log_pressure_ * rank / self.pool.size).exp()
        return torch.empty_like(chance).index_copy_(0, self.order_, chance / chance.sum())
