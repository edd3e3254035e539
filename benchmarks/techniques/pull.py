"""Trial: a stream of the examples on which early-learning regularization (ELR) still pulls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Pool, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.learners.elr import EDGE
from robuststream.samplers import Streaming


@dataclass
class Pull(Streaming):
    """Draw in proportion to the length of the gradient of ELR's objective in the logits: what that loss still wants to change.

    A wrong label that the network does not believe pulls little, since ELR's two terms hold each other; a true one that it has
    not learned yet pulls with all of its cross-entropy. The running average of predictions is kept here as ELR keeps its own.
    Paper: none; the objective is ELR's (arXiv 2007.00151, equation 6). Cost: a uniform step, and N K numbers of memory.
    Deviations: none.
    """

    warmup_epochs: float = hyper(1.0, low=0.0, help="uniform epochs before the values are first computed")
    clip: float | None = hyper(3.0, above=1.0, help="most that is stored, in times the mean stored value; null is no limit")
    strength: float = hyper(3.0, low=0.0, help="lambda, as the learner's")
    decay: float = hyper(0.7, low=0.0, below=1.0, help="beta, as the learner's")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.believed_ = torch.zeros(pool.size, pool.num_classes, device=pool.labels.device)

    def observe(self, signals: Signals) -> None:
        p = signals.logits.softmax(1)
        self.believed_[signals.index] = self.decay * self.believed_[signals.index] + (1.0 - self.decay) * p
        super().observe(signals)

    def fresh_values(self, signals: Signals) -> Tensor:
        p = signals.logits.softmax(1).clamp(EDGE, 1.0 - EDGE)
        target = self.believed_[signals.index]
        agreement = (p * target).sum(1, keepdim=True)
        label = F.one_hot(signals.labels, p.shape[1])
        return (p - label - self.strength * p * (target - agreement) / (1.0 - agreement)).norm(dim=1)
