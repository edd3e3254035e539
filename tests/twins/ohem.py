"""OHEM (Shrivastava et al. 2016) for classification, a second time."""

from __future__ import annotations

import math

from twins._shared import Dice, Epochs, Twin, TwinProbe, hardest


class OHEMTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, keep: float = 0.5) -> None:
        super().__init__(size, batch_size, dice)
        self.many = math.ceil(batch_size / keep)
        self.epochs = Epochs(dice)

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        candidates = self.epochs.fill(self.many, lambda: self.everyone)
        return hardest(candidates, probe(candidates).loss(), self.batch_size)
