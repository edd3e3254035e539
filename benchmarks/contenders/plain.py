"""What torch and numpy offer themselves, and the floor: memory that is read at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from contenders._base import MULTINOMIAL_LIMIT, Contender, generator


class Multinomial(Contender):
    name = "multinomial"
    about = "torch.multinomial over float32 values"
    package = "torch"
    linear = True
    limit = MULTINOMIAL_LIMIT
    room = 16

    def __init__(self, values: Tensor, seed: int) -> None:
        self.values, self.generator = values.clone(), generator(seed)

    def draw(self, n: int) -> Tensor:
        return torch.multinomial(self.values, n, replacement=True, generator=self.generator)

    def update(self, index: Tensor, values: Tensor) -> None:
        self.values[index] = values


class Recreated(Multinomial):
    name = "WeightedRandomSampler"
    about = "torch's WeightedRandomSampler, created again after every update, for it copies its weights"
    room = 24

    def draw(self, n: int) -> Tensor:
        # Its annotation asks for a list of floats; what it does is torch.as_tensor(weights, dtype=float64).
        weights: Any = self.values
        return torch.tensor(list(WeightedRandomSampler(weights, n, generator=self.generator)))


class Choice(Contender):
    name = "numpy choice"
    about = "numpy.random.Generator.choice with p, float64"
    package = "numpy"
    speaks_numpy = True
    linear = True
    room = 40

    def __init__(self, values: Tensor, seed: int) -> None:
        self.values, self.random = values.double().numpy(), np.random.default_rng(seed)

    def draw(self, n: int) -> np.ndarray:
        return self.random.choice(len(self.values), n, p=self.values / self.values.sum())

    def update(self, index: np.ndarray, values: np.ndarray) -> None:
        self.values[index] = values


class Floor(Contender):
    """No contender but the floor: no draw can do without n random numbers and n cache lines of the leaves."""

    name = "n cache lines"
    about = "n random numbers, and as many lines of 64 bytes gathered from an array as large as float32 leaves; no update"
    package = "torch"
    room = 8

    def __init__(self, values: Tensor, seed: int) -> None:
        self.lines = torch.ones(-(-len(values) // 16), 16)
        self.generator = generator(seed)

    def draw(self, n: int) -> Tensor:
        index = torch.randint(len(self.lines), (n,), generator=self.generator)
        self.lines.index_select(0, index)
        return index

    def update(self, index: Tensor, values: Tensor) -> None: ...
