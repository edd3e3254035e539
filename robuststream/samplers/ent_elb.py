"""ENT and ELB: probabilities of drawing from the entropy, or from the exponential of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._loss_based import sum_of_distinct
from robuststream.samplers._pod import PoD

LARGEST_EXPONENT = 300.0


@dataclass
class EntElb(PoD):
    """Draw, without repeats, by probabilities set to the entropy (ENT) or exp(loss) (ELB): the batch's sum to 1, then all to 1.

    Paper: Duda, Wojtulewicz, Rutkowski, Information Sciences 669 (2024) 120575, as in duda-piotr/BBATDDalgorithm 73427eb.
    Cost: a uniform step; with refresh=post, which is ENT as released, n forwards more a step.
    Deviations: a mini-batch is one optimizer step (released: n steps of one example each). The released drift detector reads the
        test set and never acts, so it is left out. Warm-up epochs are shuffled. Losses beyond 300 count as 300.
    """

    warmup_epochs: float = hyper(
        2.0, low=0.0, help="uniform epochs before drawing by the probabilities, which start equal", search=(0.0, 5.0)
    )
    score: str = hyper("elb", choices=("elb", "ent"), help="exp(loss), or entropy of the prediction")
    distinct: bool = hyper(True, help="no example twice in a mini-batch; false draws with replacement")

    def fresh_values(self, signals: Signals) -> Tensor:
        if self.score == "ent":
            return signals.entropy.double()
        return signals.loss.double().clamp(max=LARGEST_EXPONENT).exp()

    def largest_sum(self) -> float:
        return 1.0

    def first_values(self, probe: Probe) -> None:
        """All are 1/N, as the tree begins."""

    def store(self, signals: Signals) -> None:
        values = self.fresh_values(signals)
        total = sum_of_distinct(signals.index, values)
        self.write(signals.index, torch.where(total > 0, values / total, values))

    def pick(self) -> Tensor:
        return self.tree_.draw_distinct(self.pool.batch_size, self.generator_) if self.distinct else super().pick()
