"""Cross-entropy: what every arm learns by unless it names another learner."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Learner


@dataclass
class CrossEntropy(Learner):
    """The plain cross-entropy of every drawn example.

    Cost: a uniform step.
    """

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        return loss
