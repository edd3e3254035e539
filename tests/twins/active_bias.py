"""Active Bias (Chang et al. 2017), a second time: whole histories are kept."""

from __future__ import annotations

import numpy as np

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats
from twins._streaming import first_reaching


class ActiveBiasTwin(Twin):
    precision = 1e-3  # a variance of probabilities near one

    def __init__(
        self, size: int, batch_size: int, dice: Dice, by: str = "variance", form: str = "draw", burn_in: float = 0.075
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.by, self.form, self.burn_in = by, form, burn_in
        self.epochs = Epochs(dice)
        self.history: list[list[float]] = [[] for _ in range(size)]

    def uncertainty(self) -> list[float]:
        values = []
        for H in self.history:
            if not H:
                values.append(0.0)
            elif self.by == "closeness":
                values.append(float(np.mean(H) * (1 - np.mean(H))))
            else:
                v = float(np.var(H))
                values.append((v + v**2 / max(len(H) - 1, 1)) ** 0.5)
        return values

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        n, values = self.batch_size, self.uncertainty()
        self.weight = None
        if progress < self.burn_in:
            return self.epochs.fill(n, lambda: self.everyone)
        if self.form == "weigh":
            batch = self.epochs.fill(n, lambda: self.everyone)
            smoothed = [values[i] + sum(values) / self.size for i in batch]
            self.weight = [s * n / sum(smoothed) if sum(smoothed) > 0 else 1.0 for s in smoothed]
            return batch
        reals = self.dice.uniform64(n)
        by_value = sum(values) > 0
        uncertain = [first_reaching(values, 1.0 - r) if by_value else int(r * self.size) for r in reals]
        anyone, coin = self.dice.integers(self.size, n), self.dice.uniform(n)
        return [a if c < 0.5 else b for a, b, c in zip(uncertain, anyone, coin, strict=True)]

    def observe(self, signals: TwinSignals) -> None:
        p = [float(np.exp(-loss)) for loss in signals.loss()]
        for i, value in largest_of_repeats(signals.index, p).items():
            self.history[i].append(value)

    def stored_values(self) -> list[float]:
        return self.uncertainty()

    def probability(self) -> list[float]:
        values = self.uncertainty()
        if self.form == "weigh" or sum(values) <= 0:
            return [1 / self.size] * self.size
        mean = sum(values) / self.size  # the smoothing constant, eq. 5 and 8
        return [(value + mean) / (2 * sum(values)) for value in values]
