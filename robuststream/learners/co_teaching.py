"""Co-teaching: two networks, each of which learns what the other finds easy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Learner, Pool, Probe
from robuststream.hyperparameters import hyper


@dataclass
class CoTeaching(Learner):
    """Two networks see each mini-batch; each learns only the examples with the smallest losses under the other.

    Paper: Han et al., NeurIPS 2018 (arXiv 1804.06872), algorithm 1; bhanML/Co-teaching@7c7fbe2.
    Cost: two uniform steps.
    Deviations: `forget_rate` is a setting, there the true noise rate, which nobody knows in practice; it grows over a share of
        the budget, there over 10 of 200 epochs. The second network sees its own augmentation of the same examples, and where
        training is attacked the images before the attack.
    """

    forget_rate: float = hyper(0.2, low=0.0, below=1.0, help="share of each mini-batch that is left out in the end")
    ramp: float = hyper(0.05, above=0.0, high=1.0, help="share of the budget over which the left-out share grows from 0")

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.peer_ = probe.companion()

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        forgotten = self.forget_rate * min(progress / self.ramp, 1.0)
        kept = max(1, int((1.0 - forgotten) * len(loss)))
        lesson = self.peer_.learn(index, min(progress, 1.0), _smallest(loss.detach(), kept))
        return loss * _smallest(lesson.loss, kept)


def _smallest(loss: Tensor, kept: int) -> Tensor:
    """(n,) weights with which the mean over n is the mean over the `kept` smallest losses."""
    chosen = loss.topk(kept, largest=False).indices
    return torch.zeros_like(loss).index_fill_(0, chosen, len(loss) / kept)
