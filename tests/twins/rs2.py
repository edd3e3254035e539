"""RS2 (Okanovic et al. 2024; released code 99edfc8), a second time."""

from __future__ import annotations

from twins._shared import Dice, Epochs, Twin, TwinProbe


class RS2Twin(Twin):
    def __init__(self, size: int, batch_size: int, dice: Dice, keep: float = 0.1, across: str = "with") -> None:
        super().__init__(size, batch_size, dice)
        self.count, self.across = max(1, round(keep * size)), across
        self.epochs = Epochs(dice)

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        return self.epochs.fill(self.batch_size, self.subset)

    def subset(self) -> list[int]:
        return self.everyone if self.across == "without" else self.dice.permutation(self.size)[: self.count]

    def probability(self) -> list[float]:
        return [1.0 / self.size] * self.size
