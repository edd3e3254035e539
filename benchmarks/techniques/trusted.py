"""Tried and not kept: a sampler and a learner that trust the running average of a network's own predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Learner, Pool, Probe, Signals
from robuststream.samplers import Streaming


@dataclass
class Trusted(Streaming):
    """Draw in proportion to trust^power * (floor + entropy); trust is the running average of the observed label's probability.

    Paper: none. Cost: a uniform step. Deviations: none.
    """

    decay: float = 0.7
    power: float = 2.0
    floor: float = 0.1

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.trust_ = torch.full((pool.size,), -1.0)  # never seen

    def store(self, signals: Signals) -> None:
        p = _of_the_label(signals.logits, signals.labels)
        old = self.trust_[signals.index]
        trust = torch.where(old < 0, p, self.decay * old + (1 - self.decay) * p)
        self.trust_[signals.index] = trust
        self.tree_.update(signals.index, self._values(trust, signals.entropy))

    def fresh_values(self, signals: Signals) -> Tensor:
        return self._values(_of_the_label(signals.logits, signals.labels), signals.entropy)

    def _values(self, trust: Tensor, entropy: Tensor) -> Tensor:
        return trust.pow(self.power) * (self.floor + entropy)


@dataclass
class Believe(Learner):
    """Cross-entropy against a mixture of label and running average of predictions, whose share grows with the budget."""

    decay: float = 0.7
    strength: float = 0.9
    begin: float = 0.1
    full: float = 0.5

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.target_ = F.one_hot(pool.labels, pool.num_classes).float()

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        log_p = logits.log_softmax(1)
        believed = self.decay * self.target_[index] + (1 - self.decay) * log_p.detach().exp()
        self.target_[index] = believed
        share = self.strength * min(max((progress - self.begin) / (self.full - self.begin), 0.0), 1.0)
        target = (1 - share) * F.one_hot(labels, logits.shape[1]).float() + share * believed
        return -(target * log_p).sum(1)


def _of_the_label(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
