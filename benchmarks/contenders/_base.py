"""What a contender is: something that draws in proportion to stored values and takes new values for what it drew."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from importlib import metadata
from typing import Any, ClassVar

import torch
from torch import Tensor

MULTINOMIAL_LIMIT = 2**24  # categories


class Contender(ABC):
    """Built from (N,) float32 values on the CPU; draws with replacement from random numbers of its own, from `seed`."""

    name: ClassVar[str]
    about: ClassVar[str]
    package: ClassVar[str]  # the distribution that it comes from
    modules: ClassVar[tuple[str, ...]] = ()  # what must import
    speaks_numpy: ClassVar[bool] = False  # takes and gives numpy arrays; else tensors
    linear: ClassVar[bool] = False  # every draw or update costs O(N)
    limit: ClassVar[int | None] = None  # the most examples that it accepts
    room: ClassVar[int]  # bytes per example while it is built and used, at most

    @abstractmethod
    def __init__(self, values: Tensor, seed: int) -> None: ...

    @abstractmethod
    def draw(self, n: int) -> Any:
        """(n,) indices, in its own kind of array."""

    @abstractmethod
    def update(self, index: Any, values: Any) -> None:
        """Store (n,) float32 values for what was drawn, both in its own kind of array."""

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here; '' where it can."""
        try:
            for module in cls.modules:
                importlib.import_module(module)
        except Exception as error:  # a wheel built for another torch raises whatever its loader does
            return " ".join(f"{type(error).__name__}: {error}".split())
        return ""

    @classmethod
    def version(cls) -> str:
        try:
            return metadata.version(cls.package)
        except metadata.PackageNotFoundError:
            return "not installed"

    @classmethod
    def array(cls, tensor: Tensor) -> Any:
        """A tensor as its own kind of array, without a copy."""
        return tensor.numpy() if cls.speaks_numpy else tensor

    @classmethod
    def tensor(cls, array: Any) -> Tensor:
        """The inverse of `array`."""
        return torch.from_numpy(array) if cls.speaks_numpy else array


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
