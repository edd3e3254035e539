"""PLB: the persistent loss based approach."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._streaming import Streaming


@dataclass
class PLB(Streaming):
    """Draw in proportion to base values: the loss when last seen, never normalised.

    Paper: Wojtulewicz, Duda, Nowicki, Rutkowski, PMLR 263:17-24, 2024: algorithm 1, base value by eq. 5, p_i by eq. 2.
    Cost: a uniform step; N forwards once; with refresh=post n forwards more a step.
    Deviations: of an example drawn twice in a mini-batch the larger loss is stored.
    """

    warmup_epochs: float = hyper(
        1.0, low=0.0, help="uniform epochs before the values are first computed (paper: 0, 1, 2, 5)", search=(0.0, 5.0)
    )

    def fresh_values(self, signals: Signals) -> Tensor:
        return signals.loss
