"""SeTa: a window that slides from easy to hard groups of examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.samplers._tables import write_largest

NEVER_SEEN = 3.0
"""Nats: the loss of an example before its first, as released."""
REFINEMENTS = 50
"""Of the groups' centres; on a line they settle within some ten."""


@dataclass
class SeTa(Sampler):
    """Each epoch, leave out a random share, group the rest by loss, and deal a window of groups that slides from easy to hard.

    Paper: Zhou et al., CVPR 2025; details from the released code, mrazhou/SeTa 341df62, with its script's settings for CIFAR.
    Cost: a uniform step; an epoch is as short as the window is narrow. Nothing is probed.
    Deviations: the last 1 - delta is of the budget, not of the epochs. Groups are found by Lloyd's iterations from quantiles
        (released: scikit-learn's k-means). A window of less than a mini-batch deals everyone who was not left out (released: one
        example, if it is empty); so do losses that are all equal (released: equal chunks).
    """

    prune: float = hyper(
        0.1, low=0.0, below=1.0, help="r: random share that is left out of every epoch (class default: 0)", search=(0.0, 0.5)
    )
    groups: int = hyper(5, low=1, help="G: groups of like losses (class default: 10)", search=(3, 10))
    window: float = hyper(
        0.5, above=0.0, high=1.0, help="share of the groups that is dealt (0.9 and 0.5 were released)", search=(0.3, 0.9)
    )
    delta: float = hyper(0.9, low=0.0, high=1.0, help="spent share of the budget after which only the random share is left out")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.loss_ = torch.full((pool.size,), NEVER_SEEN, device=pool.labels.device)

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, lambda: self._next_epoch(progress)))

    def observe(self, signals: Signals) -> None:
        write_largest(self.loss_, signals.index, signals.loss)

    def _next_epoch(self, progress: float) -> Tensor:
        """Who is in the window. May wait for the device: this is the epoch's border."""
        shuffled = torch.randperm(self.pool.size, generator=self.generator_, device=self.loss_.device)
        kept = shuffled[: max(self.pool.batch_size, int((1.0 - self.prune) * self.pool.size))]
        if self.deck_.epochs == 0 or progress >= self.delta:
            return kept
        group = by_loss(self.loss_[kept], self.groups)
        width = max(1, round(self.groups * self.window))
        first = self.deck_.epochs % (self.groups - width + 1)
        inside = kept[(group >= first) & (group < first + width)]
        return inside if len(inside) >= self.pool.batch_size else kept

    def stored_values(self) -> Tensor:
        return self.loss_


def by_loss(loss: Tensor, groups: int) -> Tensor:
    """(m,) int64: the group of each loss, 0 the easiest, by k-means on a line."""
    loss = loss.double()
    place = (torch.arange(groups, device=loss.device) * 2 + 1) * len(loss) // (2 * groups)
    centres = loss.sort().values[place]
    group = torch.zeros_like(loss, dtype=torch.int64)
    for _ in range(REFINEMENTS):
        group = torch.bucketize(loss, (centres[1:] + centres[:-1]) / 2)
        members = torch.zeros_like(centres).scatter_add_(0, group, torch.ones_like(loss))
        sums = torch.zeros_like(centres).scatter_add_(0, group, loss)
        centres = torch.where(members > 0, sums / members.clamp(min=1.0), centres)
    return group
