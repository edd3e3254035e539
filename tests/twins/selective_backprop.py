"""Selective-Backprop (Jiang et al. 2019, algorithms 1 and 2, eq. 1) and composer's form of it, a second time."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe


class SelectiveBackpropTwin(Twin):
    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        beta: float = 1.0,
        history: int = 1024,
        stale: int = 1,
        variant: str = "paper",
        keep: float = 0.5,
        active_from: float = 0.5,
        active_until: float = 0.9,
        interrupt: int = 2,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.beta, self.stale, self.variant = beta, stale, variant
        self.keep, self.active_from, self.active_until, self.interrupt = keep, active_from, active_until, interrupt
        self.epochs = Epochs(dice)
        self.hist: deque[float] = deque(maxlen=history)
        self.queue: deque[int] = deque()
        self.last_loss = [math.nan] * size
        self.batches = 0

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        if self.variant == "composer":
            return self.composer(probe, progress)
        while len(self.queue) < self.batch_size:
            candidates = self.epochs.take(self.batch_size, lambda: self.everyone)
            shares = self.percentiles(candidates, probe)
            for i, share, u in zip(candidates, shares, self.dice.uniform(len(candidates)), strict=True):
                if u < share**self.beta:
                    self.queue.append(i)
        return [self.queue.popleft() for _ in range(self.batch_size)]

    def percentiles(self, candidates: list[int], probe: TwinProbe) -> list[float]:
        """CDF_R(L), example by example, as in algorithm 2: append the loss, then rank it."""
        if (self.epochs.begun - 1) % self.stale != 0:
            return [self.cdf(self.last_loss[i]) for i in candidates]
        shares = []
        for i, loss in zip(candidates, probe(candidates).loss(), strict=True):
            self.hist.append(loss)
            self.last_loss[i] = loss
            shares.append(self.cdf(loss))
        return shares

    def cdf(self, loss: float) -> float:
        return sum(other <= loss for other in self.hist) / len(self.hist)

    def composer(self, probe: TwinProbe, progress: float) -> list[int]:
        """composer 6405188, selective_backprop.py l.54-57 and l.158-166."""
        batch_idx, self.batches = self.batches, self.batches + 1
        candidates = self.epochs.fill(self.batch_size, lambda: self.everyone)
        on = self.active_from <= progress < self.active_until
        if not on or (self.interrupt > 0 and (batch_idx + 1) % self.interrupt == 0):
            return candidates
        losses = probe(candidates).loss()
        keys = []
        noise = self.dice.uniform(len(candidates))
        for loss, u in zip(losses, noise, strict=True):
            rank = sum(other < loss for other in losses)
            chance = ((rank + 0.5) / len(losses)) ** (1 / self.keep - 1)
            # The largest k of log p + Gumbel noise are k successive draws; a test of its own compares the two.
            keys.append(math.log(chance) - math.log(-math.log(u)))
        count = max(1, int(self.keep * len(losses)))
        best = sorted(range(len(keys)), key=lambda j: -keys[j])[:count]
        return [candidates[j] for j in best]

    def stored_values(self) -> list[float] | None:
        return self.last_loss if self.stale > 1 else None

    def tables(self) -> dict[str, Any]:
        unknown = [math.nan] * (self.hist.maxlen - len(self.hist))  # type: ignore[operator]
        return {"history_": unknown + list(self.hist), "queue_": list(self.queue)}
