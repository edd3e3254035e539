"""Importance sampling (Katharopoulos and Fleuret 2018, algorithm 1), a second time."""

from __future__ import annotations

import math
from typing import Any

from twins._shared import Dice, Twin, TwinProbe, TwinSignals
from twins._streaming import first_reaching


class KatharopoulosTwin(Twin):
    precision = 5e-3  # weights are the inverse of norms near zero

    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        presample: float = 3.0,
        threshold: float | None = None,
        momentum: float = 0.9,
        decide: str = "step",
    ) -> None:
        super().__init__(size, batch_size, dice)
        b, self.B = batch_size, math.ceil(presample * batch_size)
        self.tau_th = (self.B + 3 * b) / (3 * b) if threshold is None else threshold
        self.a_tau, self.decide = momentum, decide
        self.tau, self.on, self.steps, self.switches = 0.0, False, 0, 0

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        before = self.on
        if self.decide == "step" or self.steps % math.ceil(self.size / self.batch_size) == 0:
            self.on = self.tau > self.tau_th
        self.switches += before != self.on
        self.steps += 1
        self.weight = None
        if not self.on:
            return self.dice.integers(self.size, self.batch_size)
        candidates = self.dice.integers(self.size, self.B)
        norms = probe(candidates).el2n()
        self.follow(norms)
        picked = [first_reaching(norms, 1.0 - r) for r in self.dice.uniform64(self.batch_size)]
        self.weight = [1 / (self.B * norms[j] / sum(norms)) for j in picked]  # w_i = 1 / (B g_i)
        return [candidates[j] for j in picked]

    def observe(self, signals: TwinSignals) -> None:
        if not self.on:
            self.follow(signals.el2n())

    def follow(self, norms: list[float]) -> None:
        """Eq. 26: the equivalent increment of the batch size, from the distance of g to uniform."""
        g = [norm / sum(norms) for norm in norms]
        u = 1 / len(g)
        gap, whole = sum((g_i - u) ** 2 for g_i in g), sum(g_i**2 for g_i in g)
        self.tau = self.a_tau * self.tau + (1 - self.a_tau) / math.sqrt(1 - gap / whole)

    def tables(self) -> dict[str, Any]:
        return {"tau_": self.tau, "on_": self.on}
