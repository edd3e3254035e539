"""Generalized cross-entropy: between cross-entropy, which learns fast, and the mean absolute error, which noise cannot move."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Learner
from robuststream.hyperparameters import hyper


@dataclass
class GCE(Learner):
    """(1 - p^q) / q, p the probability of the observed label: improbable labels pull less than under cross-entropy.

    Paper: Zhang and Sabuncu, NeurIPS 2018 (arXiv 1805.07836), equation 6.
    Cost: a uniform step.
    Deviations: the untruncated loss, without the alternate pruning of section 3.3.
    """

    q: float = hyper(0.7, above=0.0, high=1.0, help="towards 0 cross-entropy, at 1 the mean absolute error")

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        return (-self.q * loss).expm1() / -self.q  # p^q = exp(-q * cross-entropy); expm1 keeps the digits of small losses
