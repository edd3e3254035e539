"""Uniform shuffling, a second time."""

from __future__ import annotations

from twins._shared import Dice, Epochs, Twin, TwinProbe


class UniformTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice) -> None:
        super().__init__(size, batch_size, dice)
        self.epochs = Epochs(dice)

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, lambda: self.everyone)

    def probability(self) -> list[float]:
        return [1.0 / self.size] * self.size
