"""The streaming algorithm (slides; PMLR 263:17-24, algorithm 1): a value per example, independent draws in proportion to it."""

from __future__ import annotations

from typing import Any

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class StreamingTwin(Twin):
    """Uniform warm-up, values for all, then the loop: sample, train, update the values of the mini-batch."""

    def __init__(self, size: int, batch_size: int, dice: Dice, warmup_epochs: float = 0.0, refresh: str = "pre") -> None:
        super().__init__(size, batch_size, dice)
        self.refresh = refresh
        self.epochs = Epochs(dice)
        self.warmup_steps = round(warmup_epochs * size / batch_size)
        self.population: list[float] | None = None
        self.second_look: list[int] = []
        self.uniform_draws = 0

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        if self.warmup_steps > 0:
            self.warmup_steps -= 1
            return self.epochs.fill(self.batch_size, lambda: self.everyone)
        if self.population is None:
            self.population = self.initial(probe)
        elif self.second_look:
            # Section 3.1, "after the training step": between that step and this draw nothing else happens.
            self.update(self.population, probe(self.second_look))
        total = sum(self.population)
        self.uniform_draws += total <= 0
        weights = self.population if total > 0 else [1.0] * self.size
        return self.pick(weights)

    def pick(self, weights: list[float]) -> list[int]:
        """Eq. 3: independent draws."""
        return [first_reaching(weights, 1.0 - r) for r in self.dice.uniform64(self.batch_size)]

    def observe(self, signals: TwinSignals) -> None:
        if self.population is None:
            return
        if self.refresh == "post":
            self.second_look = signals.index
        else:
            self.update(self.population, signals)

    def measure(self, signals: TwinSignals) -> list[float]:
        """What the method takes for difficulty."""
        raise NotImplementedError

    def initial(self, probe: TwinProbe) -> list[float]:
        """Algorithm 1, lines 2 to 4."""
        return self.measure(probe(self.everyone))

    def update(self, population: list[float], signals: TwinSignals) -> None:
        """Algorithm 1, lines 8 to 10: the values of the mini-batch, and of nobody else."""
        for i, value in largest_of_repeats(signals.index, self.measure(signals)).items():
            population[i] = value

    def stored_values(self) -> list[float] | None:
        return self.population

    def probability(self) -> list[float]:
        """p_i = b_i / sum_j b_j, eq. 2; uniform before there are values and when all are zero."""
        total = sum(self.population or [])
        if self.population is None or total <= 0:
            return [1.0 / self.size] * self.size
        return [value / total for value in self.population]

    def tables(self) -> dict[str, Any]:
        return {"tree_.uniform_draws": self.uniform_draws}


class PoDTwin(StreamingTwin):
    """LB and NLB: the values are probabilities of drawing, made to sum to 1 after every update."""

    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        norm: str = "literal",
        warmup_epochs: float = 0.0,
        refresh: str = "pre",
    ) -> None:
        super().__init__(size, batch_size, dice, warmup_epochs, refresh)
        self.norm = norm

    def initial(self, probe: TwinProbe) -> list[float]:
        population = super().initial(probe)
        to_sum_one(population, self.everyone)
        return population

    def update(self, population: list[float], signals: TwinSignals) -> None:
        super().update(population, signals)
        if self.norm == "within_batch":  # class `experiment` of the group's code: first the batch, then the whole vector
            to_sum_one(population, sorted(set(signals.index)))
        to_sum_one(population, self.everyone)


def to_sum_one(population: list[float], of: list[int]) -> None:
    """Scale these entries, in place, so that they sum to 1."""
    total = sum(population[i] for i in of)
    for i in of:
        population[i] = population[i] / total if total > 0 else population[i]


def first_reaching(weights: list[float], u: float) -> int:
    """Inverse CDF, u in (0, 1]: the first i whose cumulative weight reaches u * total (pools here fit one layer of the tree)."""
    total = sum(weights)
    running = 0.0
    for i, weight in enumerate(weights):
        running += weight
        if weight > 0 and running >= u * total:
            return i
    raise AssertionError("the whole is never reached")
