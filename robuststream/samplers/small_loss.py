"""Small loss: what is learned easily is probably labelled rightly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._candidates import FromCandidates, largest

MOST = 0.9
"""The largest noise rate that an estimate may give."""


@dataclass
class SmallLoss(FromCandidates):
    """Of shuffled candidates, learn those with the smallest losses, leaving out as large a share as labels are wrong.

    Paper: selection as in Co-teaching, Han et al., NeurIPS 2018 (bhanML/Co-teaching 7c7fbe2), with one network; the estimate is
        the confident joint of Northcutt, Jiang, Chuang, JAIR 2021, arXiv 1911.00068.
    Cost: n / (1 - rate) forwards a step to probe, after the ramp; N forwards once where the rate is estimated.
    Deviations: candidates grow so that n are learned (there: n candidates, of which 1 - rate are learned). The ramp is a share of
        the budget (10 of 200 epochs). An estimated rate acts at once, at estimate_at, which is ours: its probabilities are of
        examples that were learned from (there: cross-validated), so it is taken once, after learning and before memorising.
    """

    noise_rate: float | None = hyper(
        None, low=0.0, below=1.0, help="share that is left out; null estimates it", search=(0.0, 0.6)
    )
    ramp: float = hyper(
        0.05, low=0.0, high=1.0, help="spent share of the budget until which the share left out grows", search=(0.0, 0.3)
    )
    estimate_at: float = hyper(0.3, low=0.0, high=1.0, help="spent share of the budget at which an unknown rate is estimated")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.rate_ = self.noise_rate  # None until it is estimated

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        if progress >= self.estimate_at and self.rate_ is None:
            self.rate_ = min(float(noise_rate(probe(self.pool.everyone))), MOST)  # waits for the device, once in a run
        grown = min(progress / self.ramp, 1.0) if self.ramp > 0 else 1.0
        left_out = grown * (self.rate_ or 0.0)
        candidates = self.candidates(math.ceil(n / (1.0 - left_out)))
        if len(candidates) == n:
            return Batch(candidates)
        return Batch(candidates[largest(-probe(candidates).loss, n)])

    def counters(self) -> dict[str, Tensor | int]:
        return {} if self.rate_ is None else {"left_out_per_mille": round(1000 * self.rate_)}


def noise_rate(signals: Signals) -> Tensor:
    """() the share of wrong labels by the confident joint of m examples.

    Class k is confident where its probability reaches the mean that it has among examples labelled k; the most probable of those
    is taken for the clean label. Rows of the count (observed x taken) are scaled to how often each label is observed.
    """
    p = signals.logits.double().softmax(1)
    classes = p.shape[1]
    observed = F.one_hot(signals.labels, classes).double()
    of_label = observed.sum(0)
    threshold = (p * observed).sum(0) / of_label.clamp(min=1.0)
    confident = p >= threshold
    taken = F.one_hot(torch.where(confident, p, -1.0).argmax(1), classes) * confident.any(1, keepdim=True)
    joint = observed.T @ taken.double()
    right = joint.diagonal() / joint.sum(1).clamp(min=1.0)  # by observed label; a label that nobody is confident of is right
    right = torch.where(joint.sum(1) > 0, right, 1.0)
    return 1.0 - (right * of_label).sum() / of_label.sum()
