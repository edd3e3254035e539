"""The streaming approach: every example keeps a value, and mini-batches are independent draws in proportion to it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.sumtree import SumTree


@dataclass
class Streaming(Sampler):
    """Warm up with uniform mini-batches, value the whole pool by a probe, then draw in proportion and keep values fresh.

    A subclass says what a value is (`fresh_values`); how values are written (`store`) it may also change.
    """

    leaf_type: ClassVar[torch.dtype] = torch.float32  # of the stored values

    warmup_epochs: float = hyper(0.0, low=0.0, help="uniform epochs before the values are first computed")
    refresh: str = hyper(
        "pre", choices=("pre", "post"), help="values from the training forward, or from a second one after the step"
    )

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.tree_ = SumTree(pool.size, pool.labels.device, dtype=self.leaf_type)
        self.deck_ = Deck(self.generator_)
        self.warmup_left_ = round(self.warmup_epochs * pool.size / pool.batch_size)  # steps
        self.valued_ = False
        self.unrefreshed_: Tensor | None = None  # (n,) learned from in the last step, for refresh=post

    def draw(self, probe: Probe, progress: float) -> Batch:
        if self.warmup_left_ > 0:
            self.warmup_left_ -= 1
            return Batch(self.deck_.deal(self.pool.batch_size, lambda: self.pool.everyone))
        if not self.valued_:
            self.first_values(probe)
            self.valued_ = True
        elif self.unrefreshed_ is not None:
            self.store(probe(self.unrefreshed_))
        return Batch(self.pick())

    def pick(self) -> Tensor:
        """(n,) indices drawn by the stored values: independent draws, with replacement."""
        return self.tree_.draw(self.pool.batch_size, self.generator_)

    def observe(self, signals: Signals) -> None:
        if not self.valued_:
            return
        if self.refresh == "pre":
            self.store(signals)
        else:
            self.unrefreshed_ = signals.index

    @abstractmethod
    def fresh_values(self, signals: Signals) -> Tensor:
        """(m,) the values of these examples, non-negative."""

    def first_values(self, probe: Probe) -> None:
        """The values of all N examples, when the stream begins."""
        self.store(probe(self.pool.everyone))

    def store(self, signals: Signals) -> None:
        """Write the values that these signals give to the examples they are of, and to no other."""
        self.tree_.update(signals.index, self.fresh_values(signals))

    def stored_values(self) -> Tensor | None:
        return self.tree_.values if self.valued_ else None

    def draw_probability(self) -> Tensor | None:
        return self.tree_.probability()

    def counters(self) -> dict[str, Tensor | int]:
        return {"uniform_draws": self.tree_.uniform_draws, "repaired_values": self.tree_.repaired}
