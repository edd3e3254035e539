"""KAKURENBO: hide what is learned, look at it once an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.samplers._hiding import Hiding
from robuststream.samplers._tables import write_largest

CAP_SCHEDULE = ((0.3, 1.0), (0.6, 0.8), (0.8, 0.6), (torch.inf, 0.4))
"""(up to, not including, this spent share of the budget; factor of the cap): the released CIFAR-100 script's 60, 120, 160 of 200
epochs."""


@dataclass
class Kakurenbo(Hiding):
    """Hide the smallest losses that are predicted right and with confidence; deal the rest; raise the learning rate to match.

    Paper: Nguyen et al., NeurIPS 2023, arXiv 2310.10102; details from the released code, 6cb9f88.
    Cost: h N forwards an epoch for the hidden share h, which is spared its backwards: 3 - 2h units where uniform has 3.
    Deviations: the learning rate follows the share really hidden (released: lr_from=cap); confidence is a softmax over classes
        and the hidden are looked at in eval mode (released: official_quirks). The schedule is by spent budget, not by epoch.
    """

    max_hidden: float = hyper(0.3, low=0.0, below=1.0, help="F: the largest share that may be hidden", search=(0.1, 0.5))
    threshold: float = hyper(0.7, low=0.0, high=1.0, help="tau: a confidence below it moves an example back", search=(0.5, 0.95))
    lr_from: str = hyper("hidden", choices=("hidden", "cap"), help="scale the rate by 1/(1 - share really hidden) or 1/(1 - cap)")
    official_quirks: bool = hyper(False, help="softmax over the batch, and the hidden looked at in train mode")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        device = pool.labels.device
        self.deck_ = Deck(self.generator_)
        self.loss_ = torch.full((pool.size,), torch.inf, device=device)
        self.correct_ = torch.zeros(pool.size, device=device)  # 1 where the last prediction was the observed label
        self.confidence_ = torch.zeros(pool.size, device=device)
        self.hidden_ = torch.empty(0, dtype=torch.int64, device=device)
        self.lr_scale_ = 1.0

    def draw(self, probe: Probe, progress: float) -> Batch:
        index = self.deck_.deal(self.pool.batch_size, lambda: self._next_epoch(probe, progress))
        return Batch(index, lr_scale=self.lr_scale_)

    def observe(self, signals: Signals) -> None:
        axis = 0 if self.official_quirks else 1  # the released scripts take the softmax over the batch
        write_largest(self.loss_, signals.index, signals.loss)
        write_largest(self.correct_, signals.index, signals.correct)
        write_largest(self.confidence_, signals.index, signals.logits.softmax(axis).amax(1))

    def _next_epoch(self, probe: Probe, progress: float) -> Tensor:
        """Look at the hidden, hide anew, and return the visible. May wait for the device: this is the epoch's border."""
        for part in self.hidden_.split(self.pool.batch_size) if len(self.hidden_) else ():
            self.observe(probe(part, mode="train" if self.official_quirks else None))
        cap = self.max_hidden * next(factor for until, factor in CAP_SCHEDULE if progress < until)
        easiest = self.loss_.argsort(stable=True)[: int(cap * self.pool.size)]
        learned = (self.correct_[easiest] > 0) & (self.confidence_[easiest] >= self.threshold)
        self.hidden_ = easiest[learned]
        if self.deck_.epochs > 0:  # in the first epoch nothing can be hidden, so the cap does not count either
            share = cap if self.lr_from == "cap" else len(self.hidden_) / self.pool.size
            self.lr_scale_ = 1.0 / (1.0 - share)
        return self.visible().nonzero().squeeze(1)
