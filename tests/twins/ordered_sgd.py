"""Ordered SGD (Kawaguchi and Lu 2020, algorithm 1, and the released schedule of q), a second time."""

from __future__ import annotations

from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe, hardest


class OrderedSGDTwin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, keep: float | None = None, fixed_shapes: bool = False) -> None:
        super().__init__(size, batch_size, dice)
        self.keep, self.fixed_shapes = keep, fixed_shapes
        self.epochs = Epochs(dice)
        self.rights: list[bool] = []
        self.q = batch_size if keep is None else max(1, int(keep * batch_size))

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        candidates = self.epochs.fill(self.batch_size, self.border)
        signals = probe(candidates)
        self.rights += signals.correct()
        losses = signals.loss()
        if not self.fixed_shapes:
            return hardest(candidates, losses, self.q)
        places = hardest(list(range(self.batch_size)), losses, self.q)
        self.weight = [self.batch_size / self.q if j in places else 0.0 for j in range(self.batch_size)]
        return candidates

    def border(self) -> list[int]:
        if self.keep is None and self.rights:
            accuracy = 100 * sum(self.rights) / len(self.rights)
            size_of_64 = (
                4 if accuracy >= 99.5 else 8 if accuracy >= 95 else 16 if accuracy >= 90 else 32 if accuracy >= 80 else 64
            )
            self.q = max(1, self.batch_size * size_of_64 // 64)
            self.lr_scale = 0.5 if size_of_64 == 4 else 1.0
        self.rights = []
        return self.everyone

    def tables(self) -> dict[str, Any]:
        return {"lr_scale_": self.lr_scale}
