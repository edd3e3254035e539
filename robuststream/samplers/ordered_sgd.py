"""Ordered SGD: the mean of the q largest losses of a mini-batch, q falling as the network learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe
from robuststream.hyperparameters import hyper
from robuststream.samplers._candidates import FromCandidates, largest, shares

Q_SCHEDULE = ((0.995, 1 / 16), (0.95, 1 / 8), (0.9, 1 / 4), (0.8, 1 / 2))
"""(from this training accuracy, q / n): the released 64, 32, 16, 8, 4 of 64."""
LAST_LR_SCALE = 0.5
"""Of the learning rate, with the smallest q."""


@dataclass
class OrderedSGD(FromCandidates):
    """Of n shuffled candidates, learn the q with the largest losses; q falls from n to n / 16 as training accuracy rises.

    Paper: Kawaguchi and Lu, AISTATS 2020, arXiv 1907.04371; schedule of q from the released code, f491642.
    Cost: n forwards a step to probe, and a step of q examples; with fixed_shapes a whole step of n.
    Deviations: there the losses of the one forward are sorted; here the q are learned in a second one. Training accuracy is that
        of the last epoch's candidates, which costs nothing more (released: another pass over the training set).
    """

    keep: float | None = hyper(
        None, above=0.0, high=1.0, help="q / n; null follows training accuracy as in the released code", search=(0.1, 0.9)
    )
    fixed_shapes: bool = hyper(False, help="learn all n, those beyond q with weight 0")

    @property
    def waits_for_host(self) -> str:
        varies = self.keep is None and not self.fixed_shapes
        return "how many are learned follows training accuracy, read once an epoch" if varies else ""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.correct_ = torch.zeros((), dtype=torch.int64, device=pool.labels.device)  # of the candidates of this epoch
        self.seen_ = 0
        self.share_ = 1.0 if self.keep is None else self.keep
        self.lr_scale_ = 1.0

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        candidates = self.deck_.deal(n, self._next_epoch)
        signals = probe(candidates)
        if self.keep is None:
            self.correct_ += signals.correct.sum()
            self.seen_ += n
        hardest = largest(signals.loss, max(1, int(self.share_ * n)))
        if self.fixed_shapes:
            chosen = torch.zeros_like(signals.correct).index_fill_(0, hardest, True)
            return Batch(candidates, shares(chosen), self.lr_scale_)
        return Batch(candidates[hardest], lr_scale=self.lr_scale_)

    def _next_epoch(self) -> Tensor:
        """Set q by the accuracy of the epoch that ends. Waits for the device: this is the epoch's border."""
        if self.seen_:
            accuracy = float(self.correct_) / self.seen_
            self.share_ = next((share for least, share in Q_SCHEDULE if accuracy >= least), 1.0)
            self.lr_scale_ = LAST_LR_SCALE if self.share_ == Q_SCHEDULE[0][1] else 1.0
            self.correct_ = torch.zeros_like(self.correct_)
            self.seen_ = 0
        return self.pool.everyone
