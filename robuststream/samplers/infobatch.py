"""InfoBatch: skip half of what is learned, and let the other half count double."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.samplers._tables import write_largest


@dataclass
class InfoBatch(Sampler):
    """Each epoch, skip a random share of the examples below the mean loss, and weigh up the rest of those to make up for it.

    Paper: Qin et al., ICLR 2024, arXiv 2303.04947; details from the released code, 8bbb012.
    Cost: a uniform step; an epoch is shorter by prune times the share of examples below the mean loss. Nothing is probed.
    Deviations: the last 1 - delta is of the budget, not of the epochs. An example that was never learned is never skipped
        (released: all scores begin at 3, so unseen ones are compared too), and weights always end with the skipping (released:
        not where delta times the epochs is no whole number). The learning rate follows the budget (there: OneCycle, re-sized).
    """

    prune: float = hyper(
        0.5, low=0.0, below=1.0, help="r: share that is skipped of the examples below the mean loss", search=(0.1, 0.9)
    )
    delta: float = hyper(
        0.875, low=0.0, high=1.0, help="spent share of the budget after which nothing is skipped", search=(0.5, 1.0)
    )

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.loss_ = torch.full((pool.size,), torch.inf, device=pool.labels.device)  # when last learned; inf: never yet
        self.weight_ = torch.ones(pool.size, device=pool.labels.device)
        self.skipped_ = 0

    def draw(self, probe: Probe, progress: float) -> Batch:
        index, weight, missing = [], [], self.pool.batch_size
        while missing:
            part = self.deck_.within(missing, lambda: self._next_epoch(progress))
            index.append(part)
            weight.append(self.weight_[part])  # of the epoch that this part is of
            missing -= len(part)
        return Batch(torch.cat(index), torch.cat(weight))

    def observe(self, signals: Signals) -> None:
        write_largest(self.loss_, signals.index, signals.loss)

    def _next_epoch(self, progress: float) -> Tensor:
        """Who is in the next epoch; sets the weights. May wait for the device: this is the epoch's border."""
        self.weight_ = torch.ones_like(self.loss_)
        if progress >= self.delta:
            return self.pool.everyone
        known = self.loss_.isfinite()
        mean = torch.where(known, self.loss_, 0.0).sum(dtype=torch.float64) / known.sum().clamp(min=1)
        below = (self.loss_ < mean.float()).nonzero().squeeze(1)
        below = below[torch.randperm(len(below), generator=self.generator_, device=below.device)]
        kept = int((1.0 - self.prune) * len(below) + 1e-9)  # .2 x 20 is 4, also in floating point
        self.weight_[below[:kept]] = 1.0 / (1.0 - self.prune)
        self.skipped_ += len(below) - kept
        return torch.ones_like(known).index_fill_(0, below[kept:], False).nonzero().squeeze(1)

    def stored_values(self) -> Tensor:
        return self.loss_

    def counters(self) -> dict[str, Tensor | int]:
        return {"skipped": self.skipped_}
