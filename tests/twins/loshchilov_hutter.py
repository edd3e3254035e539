"""Online batch selection (Loshchilov and Hutter 2015), a second time: a table of chances by rank, summed up and searched."""

from __future__ import annotations

import math
from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class LoshchilovHutterTwin(Twin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        pressure_from: float = 100.0,
        pressure_to: float = 1.0,
        sort_every: int = 100,
        recompute_every: float = 0.0,
        recompute_share: float = 1.0,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.se0, self.se_end, self.sort_every = pressure_from, pressure_to, sort_every
        self.period, self.top = recompute_every * size, max(1, round(recompute_share * size))
        self.epochs = Epochs(dice)
        self.first_epoch = math.ceil(size / batch_size)
        self.bfs = [math.inf] * size
        self.ranked = self.everyone
        self.sorted_ago, self.recomputed_ago = sort_every, 0
        self.prob = [1 / size] * size

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        if self.first_epoch > 0:
            self.first_epoch -= 1
            return self.epochs.fill(self.batch_size, lambda: self.everyone)
        if 0 < self.period <= self.recomputed_ago:
            self.observe(probe(self.ranked[: self.top]))
            self.sorted_ago, self.recomputed_ago = self.sort_every, 0
        if self.sorted_ago >= self.sort_every:
            self.ranked = sorted(self.everyone, key=lambda i: (-self.bfs[i], i))
            self.sorted_ago = 0
        self.sorted_ago += self.batch_size
        self.recomputed_ago += self.batch_size
        se = self.se0 ** (1 - progress) * self.se_end**progress
        mult = math.exp(math.log(se) / self.size)
        raw = [1 / mult**i for i in range(self.size)]
        self.prob = [p / sum(raw) for p in raw]
        batch = []
        for r in self.dice.uniform64(self.batch_size):
            rank, below = 0, self.prob[0]
            while below <= r and rank < self.size - 1:
                rank += 1
                below += self.prob[rank]
            batch.append(self.ranked[rank])
        return batch

    def observe(self, signals: TwinSignals) -> None:
        for i, loss in largest_of_repeats(signals.index, signals.loss()).items():
            self.bfs[i] = loss

    def stored_values(self) -> list[float]:
        return self.bfs

    def probability(self) -> list[float]:
        return [self.prob[self.ranked.index(i)] for i in self.everyone]

    def tables(self) -> dict[str, Any]:
        return {"unsorted_": self.sorted_ago}
