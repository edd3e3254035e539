"""IES (Yuan et al. 2025; released code fd51090, cifar_main.py l.248-412), a second time: whole histories are kept."""

from __future__ import annotations

import math

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class IESTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, threshold: float = 1e-3, window: int = 3, k: int = 1) -> None:
        super().__init__(size, batch_size, dice)
        self.threshold, self.rate, self.k = threshold, window, k
        self.epochs = Epochs(dice)
        self.last = [math.nan] * size
        self.loss_history: list[list[float]] = [[] for _ in range(size)]
        self.excluded: list[int] = []

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, lambda: self.border(probe))

    def observe(self, signals: TwinSignals) -> None:
        for i, loss in largest_of_repeats(signals.index, signals.loss()).items():
            self.last[i] = loss

    def border(self, probe: TwinProbe) -> list[int]:
        if self.excluded:
            self.observe(probe(self.excluded))
        mastered: list[tuple[float, int]] = []
        for i in self.everyone:
            history = self.loss_history[i]
            if not math.isnan(self.last[i]):
                history.append(self.last[i])
            derivatives = [abs(c - 2 * b + a) for a, b, c in zip(history, history[1:], history[2:], strict=False)]
            derivatives = derivatives[-(self.rate + self.k) :]
            if len(derivatives) < self.rate + self.k:
                continue
            averages = [sum(derivatives[at : at + self.rate]) / self.rate for at in range(len(derivatives) - self.rate + 1)]
            if sum(averages[-self.k :]) < self.threshold:
                mastered.append((sum(averages[-self.k :]), i))
        self.excluded = sorted(i for _, i in sorted(mastered)[: self.size - self.batch_size])
        return [i for i in self.everyone if i not in self.excluded]

    def stored_values(self) -> list[float]:
        return self.last

    def probability(self) -> list[float]:
        visible = self.size - len(self.excluded)
        return [0.0 if i in self.excluded else 1 / visible for i in self.everyone]
