"""OWC (Duda et al. 2020, as on the slides), a second time."""

from __future__ import annotations

from typing import Any

from twins._shared import Dice, TwinProbe, TwinSignals
from twins._streaming import StreamingTwin, to_sum_one


class OWCTwin(StreamingTwin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        alpha: float | None = None,
        **means: Any,
    ) -> None:
        super().__init__(size, batch_size, dice, **means)
        self.alpha = 1.0 / size if alpha is None else alpha

    def measure(self, signals: TwinSignals) -> list[float]:
        """1 for a misclassified example."""
        return [0.0 if right else 1.0 for right in signals.correct()]

    def initial(self, probe: TwinProbe) -> list[float]:
        """p_i <- 1/N; nothing is asked of the network."""
        return [1.0 / self.size] * self.size

    def update(self, population: list[float], signals: TwinSignals) -> None:
        """The probabilities of misclassified examples are increased by alpha, once each, and all normalised."""
        among = list(population)
        misclassified = {i for i, wrong in zip(signals.index, self.measure(signals), strict=True) if wrong}
        for i in misclassified | (set(signals.index) if self.clip else set()):  # what is written is cut, grown or not
            population[i] = self.cut(population[i] + self.alpha * (i in misclassified), among)
        to_sum_one(population, self.everyone)
