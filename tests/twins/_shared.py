"""What every twin stands on: NumPy and loops, written from the formulas, so that a mistake of the samplers is not shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TwinSignals:
    """What one forward pass showed; everything else is computed here, in float64."""

    index: list[int]
    labels: list[int]
    logits: NDArray[np.float32]  # (m, K)

    def softmax(self, axis: int = 1) -> NDArray[np.float64]:
        """sigma(z)_j = exp(z_j) / sum_k exp(z_k); axis 0 is the released KAKURENBO's slip."""
        z = self.logits.astype(np.float64)
        powers = np.exp(z - z.max(axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)

    def loss(self) -> list[float]:
        """L(x_i, d_i) = -log sigma(y_i)_{d_i}, nats."""
        return [-float(np.log(p[label])) for p, label in zip(self.softmax(), self.labels, strict=True)]

    def entropy(self) -> list[float]:
        """H(P) = -sum_k P_k log P_k, nats."""
        return [-float(sum(p_k * np.log(p_k) for p_k in p if p_k > 0)) for p in self.softmax()]

    def correct(self) -> list[bool]:
        return [int(np.argmax(z)) == label for z, label in zip(self.logits, self.labels, strict=True)]


class TwinProbe(Protocol):
    def __call__(self, index: list[int], mode: str | None = None) -> TwinSignals: ...


class Dice(Protocol):
    """Where random numbers come from: the test hands over those that the sampler's generator would give."""

    def permutation(self, n: int) -> list[int]: ...

    def uniform(self, n: int) -> list[float]:
        """In [0, 1), float32."""
        ...

    def uniform64(self, n: int) -> list[float]:
        """In [0, 1), float64."""
        ...


class Epochs:
    """Shuffled epochs; `members` says at each border who is in the next one."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.rest: list[int] = []
        self.begun = 0

    def take(self, most: int, members: Callable[[], list[int]]) -> list[int]:
        """Up to `most` examples, all of one epoch."""
        if not self.rest:
            people = members()
            self.rest = [people[i] for i in self.dice.permutation(len(people))]
            self.begun += 1
        taken, self.rest = self.rest[:most], self.rest[most:]
        return taken

    def fill(self, n: int, members: Callable[[], list[int]]) -> list[int]:
        """Exactly n examples, from the next epoch too where this one is at its end."""
        batch: list[int] = []
        while len(batch) < n:
            batch += self.take(n - len(batch), members)
        return batch


class Twin:
    """A sampler written a second time. Stored things are plain lists, named as the paper names them."""

    def __init__(self, size: int, batch_size: int, dice: Dice) -> None:
        self.size, self.batch_size, self.dice = size, batch_size, dice
        self.lr_scale = 1.0
        self.weight: list[float] | None = None  # of the last mini-batch

    @property
    def everyone(self) -> list[int]:
        return list(range(self.size))

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        raise NotImplementedError

    def observe(self, signals: TwinSignals) -> None:
        """What the training pass showed; nothing for methods that keep nothing from it."""

    def stored_values(self) -> list[float] | None:
        return None

    def probability(self) -> list[float] | None:
        return None

    def tables(self) -> dict[str, Any]:
        """Everything else that is stored, by the sampler's attribute (dots allowed)."""
        return {}


def largest_of_repeats(index: list[int], values: list[float]) -> dict[int, float]:
    """One value per example of a mini-batch: where it was drawn twice, the larger."""
    newest: dict[int, float] = {}
    for i, value in zip(index, values, strict=True):
        newest[i] = max(value, newest.get(i, value))
    return newest
