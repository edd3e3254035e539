"""Dealing without replacement: the shared part of every method that has epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Deck:
    """A shuffled epoch that is dealt from the top; at its border `members()` says who is in the next one.

    Shuffling is `members()[torch.randperm(len, generator)]`. The generator is the sampler's, which also saves its state.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.order = torch.empty(0, dtype=torch.int64, device=generator.device)
        self.place = 0
        self.epochs = 0  # epochs begun so far

    def within(self, n: int, members: Callable[[], Tensor]) -> Tensor:
        """The next (m,) indices, 1 <= m <= n, all of one epoch: the last part of an epoch may be short."""
        if self.place == self.order.shape[0]:
            pool = members()
            shuffled = torch.randperm(len(pool), generator=self.generator, device=pool.device)
            self.order, self.place = pool[shuffled], 0
            self.epochs += 1
        part = self.order[self.place : self.place + n]
        self.place += part.shape[0]  # not len(): where steps are small, it is seen
        return part

    def deal(self, n: int, members: Callable[[], Tensor]) -> Tensor:
        """The next (n,) indices. A mini-batch that an epoch cannot fill is filled from the next, so shapes never change."""
        first = self.within(n, members)
        if first.shape[0] == n:
            return first
        parts = [first]
        while missing := n - sum(len(part) for part in parts):
            parts.append(self.within(missing, members))
        return torch.cat(parts)

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order.clone(), "place": self.place, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order = state["order"].to(self.generator.device, copy=True)
        self.place, self.epochs = state["place"], state["epochs"]
