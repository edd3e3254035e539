"""InfoBatch (Qin et al. 2024; released code 8bbb012, infobatch.py l.108-136), a second time."""

from __future__ import annotations

import math

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class InfoBatchTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, prune: float = 0.5, delta: float = 0.875) -> None:
        super().__init__(size, batch_size, dice)
        self.prune, self.delta = prune, delta
        self.epochs = Epochs(dice)
        self.score = [math.inf] * size
        self.factor = [1.0] * size

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        batch: list[int] = []
        self.weight = []
        while len(batch) < self.batch_size:
            part = self.epochs.take(self.batch_size - len(batch), lambda: self.border(progress))
            batch += part
            self.weight += [self.factor[i] for i in part]
        return batch

    def border(self, progress: float) -> list[int]:
        """`prune`, or `no_prune` in the last 1 - delta."""
        self.factor = [1.0] * self.size
        if progress >= self.delta:
            return self.everyone
        seen = [score for score in self.score if score < math.inf]
        mean = sum(seen) / max(len(seen), 1)
        well_learned = [i for i in self.everyone if self.score[i] < mean]
        order = [well_learned[j] for j in self.dice.permutation(len(well_learned))]
        survivors = order[: math.floor(round((1 - self.prune) * len(order), 6))]
        for i in survivors:
            self.factor[i] = 1 / (1 - self.prune)
        return [i for i in self.everyone if i not in order or i in survivors]

    def observe(self, signals: TwinSignals) -> None:
        for i, loss in largest_of_repeats(signals.index, signals.loss()).items():
            self.score[i] = loss

    def stored_values(self) -> list[float]:
        return self.score
