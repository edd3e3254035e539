"""IES: instance-dependent early stopping."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.samplers._hiding import Hiding
from robuststream.samplers._tables import write_largest


@dataclass
class IES(Hiding):
    """Hide the examples whose loss has stopped bending from epoch to epoch; look at them once an epoch; deal the rest.

    Paper: Yuan et al., ICLR 2025 (spotlight); details from the released code, tmllab/2025_ICLR_IES fd51090.
    Cost: h N forwards an epoch for the hidden share h, which is spared its backwards: 3 - 2h units where uniform has 3.
    Deviations: at least one mini-batch stays visible. The hidden are looked at without augmentation (released: with). What the
        border of an epoch finds not yet learned keeps its last loss. The released threshold doubles for CIFAR-100: set it.
    """

    threshold: float = hyper(
        1e-3, above=0.0, help="below it the mean absolute second difference of losses counts as mastered", search=(1e-5, 1e-1)
    )
    window: int = hyper(3, low=1, help="second differences in a moving average")
    k: int = hyper(1, low=1, help="moving averages whose sum is compared with the threshold")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        device = pool.labels.device
        self.deck_ = Deck(self.generator_)
        self.loss_ = torch.full((pool.size,), torch.nan, device=device)  # nan: never seen
        kept = self.window + self.k + 2  # losses, for window + k second differences: the released code waits for as many
        self.history_ = torch.full((pool.size, kept), torch.nan, device=device)  # one a column and epoch, oldest first
        self.hidden_ = torch.empty(0, dtype=torch.int64, device=device)

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, lambda: self._next_epoch(probe)))

    def observe(self, signals: Signals) -> None:
        write_largest(self.loss_, signals.index, signals.loss)

    def _next_epoch(self, probe: Probe) -> Tensor:
        """Look at the hidden, hide anew, and return the visible. May wait for the device: this is the epoch's border."""
        if len(self.hidden_):
            self.observe(probe(self.hidden_))
        self.history_ = torch.cat([self.history_[:, 1:], self.loss_[:, None]], 1)
        bend = self.history_.diff(dim=1).diff(dim=1).abs()
        averages = bend.unfold(1, self.window, 1).mean(2)
        mastery = averages[:, -self.k :].sum(1)
        mastery = torch.where(self.history_.isnan().any(1), torch.inf, mastery)
        smoothest = mastery.argsort(stable=True)[: self.pool.size - self.pool.batch_size]
        self.hidden_ = smoothest[mastery[smoothest] < self.threshold].sort().values
        return self.visible().nonzero().squeeze(1)
