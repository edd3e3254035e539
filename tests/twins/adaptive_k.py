"""Adaptive-k (Dedeoglu et al. 2022; released notebook 9794b94, `train`), a second time."""

from __future__ import annotations

from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe


class AdaptiveKTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, vanilla: float = 30 / 80, fixed_shapes: bool = False) -> None:
        super().__init__(size, batch_size, dice)
        self.vanilla, self.fixed_shapes = vanilla, fixed_shapes
        self.epochs = Epochs(dice)
        self.m = self.v = 0.0

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        candidates = self.epochs.fill(self.batch_size, lambda: self.everyone)
        if progress < self.vanilla:
            return candidates
        losses = probe(candidates).loss()
        mini_batch_mean = sum(losses) / len(losses)
        self.m = 0.9 * self.m + 0.1 * mini_batch_mean
        self.v = 0.999 * self.v + 0.001 * mini_batch_mean**2
        moving_avg = self.m / (self.v**0.5 + 0.00000001)
        chosen = [loss <= moving_avg for loss in losses]
        if not any(chosen):
            chosen[losses.index(min(losses))] = True
        if not self.fixed_shapes:
            return [i for i, kept in zip(candidates, chosen, strict=True) if kept]
        self.weight = [kept * len(chosen) / sum(chosen) for kept in chosen]
        return candidates

    def tables(self) -> dict[str, Any]:
        return {"mean_": self.m, "square_": self.v}
