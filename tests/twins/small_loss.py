"""Small-loss selection (Han et al. 2018), the rate given or by the confident joint (Northcutt et al. 2021), a second time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, hardest


class SmallLossTwin(Twin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        noise_rate: float | None = None,
        ramp: float = 0.05,
        estimate_at: float = 0.3,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.forget_rate, self.T_k, self.estimate_at = noise_rate, ramp, estimate_at
        self.epochs = Epochs(dice)

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        if self.forget_rate is None and progress >= self.estimate_at:
            self.forget_rate = min(off_diagonal(probe(self.everyone)), 0.9)
        remember = 1 - (self.forget_rate or 0.0) * (min(progress / self.T_k, 1) if self.T_k else 1)
        candidates = self.epochs.fill(math.ceil(self.batch_size / remember), lambda: self.everyone)
        if len(candidates) == self.batch_size:
            return candidates
        return hardest(candidates, [-loss for loss in probe(candidates).loss()], self.batch_size)

    def tables(self) -> dict[str, Any]:
        return {"rate_": self.forget_rate}


def off_diagonal(signals: TwinSignals) -> float:
    """Eq. 1 to 3: count by thresholds of self-confidence, calibrate the rows, and add up what is off the diagonal."""
    p, labels = signals.softmax(), signals.labels
    classes = range(p.shape[1])
    thresholds = [np.mean([p[i, k] for i, label in enumerate(labels) if label == k] or [0.0]) for k in classes]
    count = np.zeros((len(classes), len(classes)))
    for i, label in enumerate(labels):
        above = [k for k in classes if p[i, k] >= thresholds[k]]
        if above:
            count[label, max(above, key=lambda k: p[i, k])] += 1
    wrong = 0.0
    for k in classes:
        if count[k].sum() > 0:
            wrong += labels.count(k) * (1 - count[k, k] / count[k].sum())
    return float(wrong / len(labels))
