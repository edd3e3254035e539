"""ENT and ELB (Duda et al. 2024) as in class `experiment` of the group's code, 73427eb, a second time."""

from __future__ import annotations

import math

from twins._shared import Dice, TwinProbe, TwinSignals
from twins._streaming import PoDTwin


class EntElbTwin(PoDTwin):
    """An exponential race stands for numpy's successive draws without replacement; the tree's own tests compare the two."""

    precision = 1e-3  # an exponential of losses, or an entropy near zero

    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        warmup_epochs: float = 2.0,
        refresh: str = "pre",
        score: str = "elb",
        distinct: bool = True,
    ) -> None:
        super().__init__(size, batch_size, dice, "within_batch", warmup_epochs=warmup_epochs, refresh=refresh)
        self.score, self.distinct = score, distinct

    def initial(self, probe: TwinProbe) -> list[float]:
        return [1 / self.size] * self.size

    def measure(self, signals: TwinSignals) -> list[float]:
        if self.score == "elb":
            return [math.exp(loss) for loss in signals.loss()]
        return [entropy / math.log(2) for entropy in signals.entropy()]  # log2, as there

    def pick(self, weights: list[float]) -> list[int]:
        if not self.distinct:
            return super().pick(weights)
        arrival = [-math.log1p(-u) / max(w, 2.0**-700) for u, w in zip(self.dice.uniform64(self.size), weights, strict=True)]
        return sorted(self.everyone, key=lambda i: arrival[i])[: self.batch_size]
