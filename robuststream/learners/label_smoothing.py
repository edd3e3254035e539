"""Label smoothing: never be quite sure."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Learner
from robuststream.hyperparameters import hyper


@dataclass
class LabelSmoothing(Learner):
    """Cross-entropy against the observed label mixed with the uniform distribution over all classes.

    Paper: Szegedy et al., CVPR 2016 (arXiv 1512.00567), section 7; under noise Lukasik et al., ICML 2020 (arXiv 2003.02819).
    Cost: a uniform step.
    Deviations: none; torch's own loss.
    """

    smoothing: float = hyper(0.1, low=0.0, high=1.0, help="share of the target that is spread over all classes")

    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)
