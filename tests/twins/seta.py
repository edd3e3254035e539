"""SeTa (Zhou et al. 2025; released code 341df62, seta.py l.256-340), a second time."""

from __future__ import annotations

import numpy as np

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class SeTaTwin(Twin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        prune: float = 0.1,
        groups: int = 5,
        window: float = 0.5,
        delta: float = 0.9,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.keep, self.num_group, self.window, self.delta = 1 - prune, groups, window, delta
        self.epochs = Epochs(dice)
        self.score = [3.0] * size
        self.windows: list[tuple[int, int]] = []  # (first group, examples) of every window that was dealt

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, lambda: self.border(progress))

    def observe(self, signals: TwinSignals) -> None:
        for i, loss in largest_of_repeats(signals.index, signals.loss()).items():
            self.score[i] = loss

    def border(self, progress: float) -> list[int]:
        kept = self.dice.permutation(self.size)[: max(self.batch_size, int(self.keep * self.size))]
        if self.epochs.begun == 0 or progress >= self.delta:
            return kept
        grouped = self.group(kept)
        window_size = max(1, round(self.num_group * self.window))
        start = self.epochs.begun % (self.num_group - window_size + 1)
        chosen = {i for group in grouped[start : start + window_size] for i in group}
        if len(chosen) < self.batch_size:
            return kept
        self.windows.append((start, len(chosen)))
        return [i for i in kept if i in chosen]

    def group(self, kept: list[int]) -> list[list[int]]:
        """k-means of numbers: every example to its nearest centre, every centre to the mean of its own, until nothing moves."""
        rising = sorted(self.score[i] for i in kept)
        centres = [rising[int((g + 0.5) / self.num_group * len(rising))] for g in range(self.num_group)]
        while True:
            groups: list[list[int]] = [[] for _ in centres]
            for i in kept:
                groups[int(np.argmin([abs(self.score[i] - centre) for centre in centres]))].append(i)
            moved = [float(np.mean([self.score[i] for i in g])) if g else c for g, c in zip(groups, centres, strict=True)]
            if np.allclose(moved, centres, rtol=1e-12, atol=0):
                return groups
            centres = moved

    def stored_values(self) -> list[float]:
        return self.score
