"""NLB: normalised loss based streaming."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Signals
from robuststream.samplers._loss_based import LossBased


@dataclass
class NLB(LossBased):
    """Draw by probabilities that are set to tanh of the loss of the drawn examples, then normalised over the pool.

    Paper: Duda, Jaworski, Cader, Wang, JAISCR 10(1):15-26, 2020, as restated in the project's slides (20.11.2024).
    Cost: a uniform step; N forwards once, to initialise; with refresh=post n forwards more a step.
    Deviations: none from the slides; the group's code divides by the times drawn as well, which is not offered.
    """

    def fresh_values(self, signals: Signals) -> Tensor:
        return signals.loss.double().tanh()
