"""The streaming algorithm (slides; PMLR 263:17-24, algorithm 1): a value per example, independent draws in proportion to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twins._shared import Dice, Epochs, Twin, TwinProbe, TwinSignals, largest_of_repeats


class StreamingTwin(Twin):
    """Uniform warm-up, values for all, then the loop: sample, train, update the values of the mini-batch."""

    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        warmup_epochs: float = 0.0,
        refresh: str = "pre",
        refresh_oldest: float = 0.0,
        temper: float = 1.0,
        clip: float | None = None,
        mix: float = 0.0,
        correct: float = 0.0,
    ) -> None:
        super().__init__(size, batch_size, dice)
        self.refresh, self.refresh_oldest = refresh, refresh_oldest
        self.temper, self.clip, self.mix, self.correct = temper, clip, mix, correct
        self.epochs = Epochs(dice)
        self.warmup_steps = round(warmup_epochs * size / batch_size)
        self.population: list[float] | None = None
        self.second_look: list[int] = []
        self.uniform_draws = 0
        self.period = self.countdown = max(1, size // (10 * batch_size))  # ten times an epoch
        self.last_seen = [-place for place in dice.permutation(size)] if refresh_oldest else []
        self.looks = 0
        self.belief = Belief()

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        if self.warmup_steps > 0:
            self.warmup_steps -= 1
            return self.epochs.fill(self.batch_size, lambda: self.everyone)
        if self.population is None:
            self.population = self.initial(probe)
        else:
            if self.second_look:
                # Section 3.1, "after the training step": between that step and this draw nothing else happens.
                self.update(self.population, probe(self.second_look))
            self.freshen(probe)
        total = sum(self.population)
        self.uniform_draws += total <= 0
        weights = self.population if total > 0 else [1.0] * self.size
        drawn = self.pick(weights)
        if self.mix > 0:
            coins = self.dice.uniform64(self.batch_size)
            drawn = [int(u / self.mix * self.size) if u < self.mix else i for u, i in zip(coins, drawn, strict=True)]
        if self.correct > 0:  # Schaul et al., 2016, section 3.4
            p = self.probability()
            corrections = [(1.0 / (self.size * p[i])) ** self.correct for i in drawn]
            self.weight = [w / max(corrections) for w in corrections]
        return drawn

    def pick(self, weights: list[float]) -> list[int]:
        """Eq. 3: independent draws."""
        return [first_reaching(weights, 1.0 - r) for r in self.dice.uniform64(self.batch_size)]

    def freshen(self, probe: TwinProbe) -> None:
        """Ten times an epoch: look at those unseen for longest; move everyone's logits as those seen have moved."""
        if not self.refresh_oldest and self.refresh != "carry":
            return
        self.countdown -= 1
        if self.countdown > 0:
            return
        self.countdown = self.period
        if self.refresh_oldest:
            count = min(self.size, max(1, round(self.refresh_oldest * self.batch_size * self.period)))
            self.look(probe(sorted(self.everyone, key=lambda i: (self.last_seen[i], i))[:count]))
        if self.refresh == "carry":
            self.population = self.of_everyone(self.belief.carry())

    def observe(self, signals: TwinSignals) -> None:
        if self.population is None:
            return
        if self.refresh == "post":
            self.second_look = signals.index
            self.mark(signals)
        else:
            self.look(signals)

    def look(self, signals: TwinSignals) -> None:
        assert self.population is not None
        self.update(self.population, signals)
        self.mark(signals)
        self.belief.notes += list(zip(signals.index, signals.logits, strict=True))

    def mark(self, signals: TwinSignals) -> None:
        self.looks += 1
        for i in signals.index if self.refresh_oldest else []:
            self.last_seen[i] = self.looks

    def measure(self, signals: TwinSignals) -> list[float]:
        """What the method takes for difficulty."""
        raise NotImplementedError

    def tempered(self, signals: TwinSignals) -> list[float]:
        return [value**self.temper for value in self.measure(signals)]

    def cut(self, value: float, among: list[float]) -> float:
        """At most `clip` times the mean."""
        mean = sum(among) / len(among)
        return value if self.clip is None or mean <= 0 else min(value, self.clip * mean)

    def initial(self, probe: TwinProbe) -> list[float]:
        """Algorithm 1, lines 2 to 4."""
        signals = probe(self.everyone)
        self.belief = Belief(list(signals.labels), np.array(signals.logits, dtype=np.float64))
        return self.of_everyone(signals)

    def of_everyone(self, signals: TwinSignals) -> list[float]:
        values = self.tempered(signals)
        return [self.cut(value, values) for value in values]

    def update(self, population: list[float], signals: TwinSignals) -> None:
        """Algorithm 1, lines 8 to 10: the values of the mini-batch, and of nobody else."""
        newest = self.within(largest_of_repeats(signals.index, self.tempered(signals)))
        before = list(population)
        for i, value in newest.items():
            population[i] = self.cut(value, before)

    def within(self, newest: dict[int, float]) -> dict[int, float]:
        """What a method does to the values of a mini-batch among themselves."""
        return newest

    def stored_values(self) -> list[float] | None:
        """As the method measures them: the exponent is undone."""
        return None if self.population is None else [value ** (1.0 / self.temper) for value in self.population]

    def probability(self) -> list[float]:
        """p_i = b_i / sum_j b_j, eq. 2; uniform before there are values and when all are zero; a share `mix` is uniform."""
        total = sum(self.population or [])
        if self.population is None or total <= 0:
            return [1.0 / self.size] * self.size
        return [(1.0 - self.mix) * value / total + self.mix / self.size for value in self.population]

    def tables(self) -> dict[str, Any]:
        return {"tree_.uniform_draws": self.uniform_draws}


class Belief:
    """Everyone's logits as they are believed to be now, and what was seen since they were last moved."""

    def __init__(self, labels: list[int] | None = None, logits: NDArray[np.float64] | None = None) -> None:
        self.labels = labels or []
        self.z = np.zeros((0, 0)) if logits is None else logits - logits.mean(1, keepdims=True)
        self.notes: list[tuple[int, NDArray[np.float32]]] = []

    def row(self, i: int) -> list[float]:
        """What the change of an example is told from: its believed logits, and which label it bears."""
        return [*self.z[i], *(float(self.labels[i] == k) for k in range(self.z.shape[1]))]

    def carry(self) -> TwinSignals:
        seen = [(i, np.asarray(z, dtype=np.float64) - np.mean(z, dtype=np.float64)) for i, z in self.notes]
        inputs = np.array([self.row(i) for i, _ in seen])
        changes = np.array([z - self.z[i] for i, z in seen])
        # min |X W - D|^2 + 10 |W|^2, as ordinary least squares with ten examples' worth of "no change" in every direction.
        nothing = np.sqrt(10.0) * np.eye(inputs.shape[1])
        known = np.vstack([changes, np.zeros((inputs.shape[1], changes.shape[1]))])
        move = np.linalg.lstsq(np.vstack([inputs, nothing]), known, rcond=None)[0]
        self.z = np.array([self.z[i] + np.array(self.row(i)) @ move for i in range(len(self.z))])
        for i, z in seen:
            self.z[i] = z
        self.notes = []
        return TwinSignals(list(range(len(self.z))), self.labels, self.z)  # type: ignore[arg-type]


class PoDTwin(StreamingTwin):
    """LB and NLB: the values are probabilities of drawing, made to sum to 1 after every update."""

    def __init__(self, size: int, batch_size: int, dice: Dice, norm: str = "literal", **means: Any) -> None:
        super().__init__(size, batch_size, dice, **means)
        self.norm = norm

    def of_everyone(self, signals: TwinSignals) -> list[float]:
        population = super().of_everyone(signals)
        to_sum_one(population, self.everyone)
        return population

    def update(self, population: list[float], signals: TwinSignals) -> None:
        super().update(population, signals)
        to_sum_one(population, self.everyone)

    def stored_values(self) -> list[float] | None:
        return self.population

    def within(self, newest: dict[int, float]) -> dict[int, float]:
        """Class `experiment` of the group's code: first the batch sums to 1, then the whole vector."""
        total = sum(newest.values())
        if self.norm == "literal" or total <= 0:
            return newest
        return {i: value / total for i, value in newest.items()}


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
