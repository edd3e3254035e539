"""Early-learning regularization: hold on to what was believed before the wrong labels were learned by heart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Learner, Pool, Probe
from robuststream.hyperparameters import hyper

EDGE = 1e-4
"""Probabilities are kept this far from 0 and 1, as in the released code."""


@dataclass
class ELR(Learner):
    """Cross-entropy + strength * log(1 - <p, t>), where t is the running average of the example's own predictions p.

    Paper: Liu, Niles-Weed, Razavian, Fernandez-Granda, NeurIPS 2020 (arXiv 2007.00151), equations 6 and 9; its CIFAR-10 defaults.
    Cost: a uniform step, and N K numbers of memory.
    Deviations: of an example drawn twice in a mini-batch the larger probability of each class is averaged in.
    """

    strength: float = hyper(3.0, low=0.0, help="lambda: price of leaving what was believed", search=(1.0, 7.0))
    decay: float = hyper(0.7, low=0.0, below=1.0, help="beta: of the running average, per time that an example is learned")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.target_ = torch.zeros(pool.size, pool.num_classes, device=pool.labels.device)

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        p = logits.softmax(1).clamp(EDGE, 1.0 - EDGE)
        believed = p.detach() / p.detach().sum(1, keepdim=True)
        target = self.decay * self.target_[index] + (1.0 - self.decay) * believed
        rows = index[:, None].expand_as(target)
        self.target_.scatter_reduce_(0, rows, target, "amax", include_self=False)
        return loss + self.strength * torch.log1p(-(self.target_[index] * p).sum(1))
