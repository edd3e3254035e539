"""Self-paced learning (Kumar et al. 2010), a second time."""

from __future__ import annotations

import math
from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe


class SelfPacedTwin(Twin):
    precision = 1e-3  # a bound that is one small loss

    def __init__(
        self, size: int, batch_size: int, dice: Dice, first: float = 0.5, growth: float = 1.3, warmup_epochs: int = 1
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.first, self.mu, self.warmup = first, growth, warmup_epochs
        self.epochs = Epochs(dice)
        self.bound: float | None = None
        self.loss = [math.nan] * size
        self.done = False

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, lambda: self.border(probe))

    def border(self, probe: TwinProbe) -> list[int]:
        """v_i = 1 where the loss is below 1/K, which grows by mu."""
        if self.done or self.epochs.begun < self.warmup:
            return self.everyone
        self.loss = probe(self.everyone).loss()
        rising = sorted(self.loss)
        if self.bound is None:
            self.bound = rising[max(1, round(self.first * self.size)) - 1]
        else:
            self.bound *= self.mu
        bound = max(self.bound, rising[self.batch_size - 1])
        easy = [i for i in self.everyone if self.loss[i] <= bound]
        self.done = len(easy) == self.size
        return easy

    def stored_values(self) -> list[float]:
        return self.loss

    def tables(self) -> dict[str, Any]:
        return {} if self.bound is None else {"bound_": self.bound, "all_in_": self.done}
