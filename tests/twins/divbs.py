"""DivBS (Hong et al. 2024; released code 33ae106, DivBS.py l.49-99), a second time: directions by least squares."""

from __future__ import annotations

import math

import numpy as np

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals


class DivBSTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, keep: float = 0.1) -> None:
        super().__init__(size, batch_size, dice)
        self.many = math.ceil(batch_size / keep)
        self.epochs = Epochs(dice)

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        candidates = self.epochs.fill(self.many, lambda: self.everyone)
        gradients = by_weights(probe(candidates))
        luck = np.array(self.dice.uniform64(self.batch_size * self.many)).reshape(self.batch_size, self.many)
        picks: list[int] = []
        for step in range(self.batch_size):
            mean = np.mean(gradients, axis=0)
            unexplained = mean
            if picks:
                basis = np.array([gradients[j] for j in picks]).T
                unexplained = mean - basis @ np.linalg.lstsq(basis, mean, rcond=1e-9)[0]
            best, at = -math.inf, -1
            for j in range(self.many):
                chance = max(abs(float(gradients[j] @ unexplained)), 1e-30)
                key = math.log(chance) - math.log(-math.log(luck[step, j]))
                if j not in picks and key > best:
                    best, at = key, j
            picks.append(at)
        return [candidates[j] for j in picks]


def by_weights(signals: TwinSignals) -> list[np.ndarray]:
    """d loss / d W of a linear layer that follows the logits z: (softmax(z) - one-hot) z^T."""
    gradients = []
    for p, z, label in zip(signals.softmax(), signals.logits.astype(np.float64), signals.labels, strict=True):
        p[label] -= 1.0
        gradients.append(np.outer(p, z).ravel())
    return gradients
