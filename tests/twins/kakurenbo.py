"""KAKURENBO (Nguyen et al. 2023) as the released CIFAR-100 script does it, 6cb9f88, a second time."""

from __future__ import annotations

import math
from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class KakurenboTwin(Twin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        max_hidden: float = 0.3,
        threshold: float = 0.7,
        lr_from: str = "hidden",
        official_quirks: bool = False,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.max_hidden, self.threshold, self.lr_from, self.quirks = max_hidden, threshold, lr_from, official_quirks
        self.epochs = Epochs(dice)
        self.loss = [math.inf] * size
        self.correct = [0.0] * size  # PA
        self.confidence = [0.0] * size  # PC
        self.hidden: list[int] = []
        self.moved_back = 0

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, lambda: self.border(probe, progress))

    def observe(self, signals: TwinSignals) -> None:
        confidence = signals.softmax(0 if self.quirks else 1).max(1).tolist()
        seen = {"loss": signals.loss(), "correct": [float(right) for right in signals.correct()], "confidence": confidence}
        for name, values in seen.items():
            for i, value in largest_of_repeats(signals.index, values).items():
                getattr(self, name)[i] = value

    def border(self, probe: TwinProbe, progress: float) -> list[int]:
        """Look at the hidden, then l.179-214: hide the M smallest losses that are right and confident."""
        for at in range(0, len(self.hidden), self.batch_size):
            self.observe(probe(self.hidden[at : at + self.batch_size], mode="train" if self.quirks else None))
        cap = self.max_hidden * cap_factor(progress)
        easiest = sorted(self.everyone, key=lambda i: (self.loss[i], i))
        self.hidden = []
        for i in easiest[: int(cap * self.size)]:
            if self.correct[i] and self.confidence[i] >= self.threshold:
                self.hidden.append(i)
            else:
                self.moved_back += 1
        if self.epochs.begun > 0:  # l.589-602: the first epoch is warm-up
            self.lr_scale = 1 / (1 - (cap if self.lr_from == "cap" else len(self.hidden) / self.size))
        return [i for i in self.everyone if i not in self.hidden]

    def stored_values(self) -> list[float]:
        return self.loss

    def probability(self) -> list[float]:
        visible = self.size - len(self.hidden)
        return [0.0 if i in self.hidden else 1 / visible for i in self.everyone]

    def tables(self) -> dict[str, Any]:
        return {"correct_": self.correct, "confidence_": self.confidence, "hidden_": self.hidden}


def cap_factor(progress: float) -> float:
    """`adjust_fraction`, l.618-630: epochs count from 0, so that of 200 the first with .8 is number 60, at progress .3."""
    if progress < 60 / 200:
        return 1.0
    if progress < 120 / 200:
        return 0.8
    if progress < 160 / 200:
        return 0.6
    return 0.4
