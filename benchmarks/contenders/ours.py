"""Our own sum tree, in both forms."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from contenders._base import Contender, generator


class Ours(Contender):
    """`backend` is which form."""

    package = "robuststream"
    modules = ("robuststream.sumtree",)
    room = 16
    backend: ClassVar[str]

    def __init__(self, values: Tensor, seed: int) -> None:
        from robuststream.sumtree import SumTree

        self.tree = SumTree(len(values), backend=self.backend)
        self.generator = generator(seed)
        self.tree.values.copy_(values)
        self.tree.rebuild()

    def draw(self, n: int) -> Tensor:
        return self.tree.draw(n, self.generator)

    def update(self, index: Tensor, values: Tensor) -> None:
        self.tree.update(index, values)

    @classmethod
    def missing(cls) -> str:
        reason = super().missing()
        if reason:
            return reason
        try:
            cls(torch.ones(2), seed=0)
        except Exception as error:  # no compiler, no library: the backend says what
            return " ".join(f"{type(error).__name__}: {error}".split())
        return ""


class Native(Ours):
    name = "ours, native"
    about = "robuststream.sumtree, C"
    backend = "native"


class PureTorch(Ours):
    name = "ours, torch"
    about = "robuststream.sumtree, pure torch"
    backend = "torch"
