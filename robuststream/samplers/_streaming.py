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
from robuststream.samplers._freshness import Ages, CarriedLogits, period
from robuststream.sumtree import SumTree


@dataclass
class Streaming(Sampler):
    """Warm up with uniform mini-batches, value the whole pool by a probe, then draw in proportion and keep values fresh.

    A subclass says what a value is (`fresh_values`); how values are written (`store`) it may also change.
    What is fresh for how many forwards is measured in reports/staleness, what is stable up to which rate in reports/stability.
    """

    leaf_type: ClassVar[torch.dtype] = torch.float32  # of the stored values

    warmup_epochs: float = hyper(0.0, low=0.0, help="uniform epochs before the values are first computed")
    refresh: str = hyper(
        "pre",
        choices=("pre", "post", "carry"),
        help="values from the training forward, or from a second one after the step, or (carry) as pre and all others moved "
        "along by what the seen ones show",
    )
    refresh_oldest: float = hyper(
        0.0, low=0.0, high=10.0, help="examples probed per example drawn, those longest unseen; 0.15 costs 5 % of a step"
    )
    temper: float = hyper(1.0, above=0.0, high=2.0, help="exponent of the values before they are stored")
    clip: float | None = hyper(None, above=1.0, help="most that is stored, in times the mean stored value; null is no limit")
    mix: float = hyper(0.0, low=0.0, high=1.0, help="share of the draws that is uniform")
    correct: float = hyper(
        0.0, low=0.0, high=1.0, help="exponent b of the weights (N p)^-b over the largest in the mini-batch [Schaul et al., 2016]"
    )

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.tree_ = SumTree(pool.size, pool.labels.device, dtype=self.leaf_type)
        self.deck_ = Deck(self.generator_)
        self.warmup_left_ = round(self.warmup_epochs * pool.size / pool.batch_size)  # steps
        self.valued_ = False
        self.unrefreshed_: Tensor | None = None  # (n,) learned from in the last step, for refresh=post
        self.period, self.until_fresh_ = period(pool), period(pool)  # steps
        self.ages_ = Ages(pool.size, self.generator_) if self.refresh_oldest else None
        self.carried_ = CarriedLogits(pool) if self.refresh == "carry" else None

    def draw(self, probe: Probe, progress: float) -> Batch:
        if self.warmup_left_ > 0:
            self.warmup_left_ -= 1
            return Batch(self.deck_.deal(self.pool.batch_size, lambda: self.pool.everyone))
        if not self.valued_:
            self.first_values(probe)
            self.valued_ = True
        else:
            self.freshen(probe)
        return self.stream()

    def stream(self) -> Batch:
        """A mini-batch of independent draws by the stored values, as `mix` and `correct` would have it."""
        n, size = self.pool.batch_size, self.pool.size
        index = self.pick()
        if self.mix > 0:
            u = torch.rand(n, generator=self.generator_, dtype=torch.float64, device=index.device)
            anyone = (u * (size / self.mix)).long().clamp(max=size - 1)  # below mix, u / mix is uniform itself
            index = torch.where(u < self.mix, anyone, index)
        if self.correct == 0:
            return Batch(index)
        weight = (self._mixed(self.tree_.probability(index)) * size) ** -self.correct
        return Batch(index, (weight / weight.max()).float())

    def pick(self) -> Tensor:
        """(n,) indices drawn by the stored values: independent draws, with replacement."""
        return self.tree_.draw(self.pool.batch_size, self.generator_)

    def freshen(self, probe: Probe) -> None:
        """What is to be looked at again after the last step, and in every `period` steps."""
        if self.unrefreshed_ is not None:
            self.store(probe(self.unrefreshed_))
        if self.ages_ is None and self.carried_ is None:
            return
        self.until_fresh_ -= 1
        if self.until_fresh_ > 0:
            return
        self.until_fresh_ = self.period
        if self.ages_ is not None:
            self._saw(probe(self.ages_.oldest(self.looked_at_again)))
        if self.carried_ is not None:
            self.store_all(self.carried_.carry())

    @property
    def looked_at_again(self) -> int:
        """How many of the oldest are probed in every `period` steps."""
        return min(self.pool.size, max(1, round(self.refresh_oldest * self.pool.batch_size * self.period)))

    def observe(self, signals: Signals) -> None:
        if not self.valued_:
            return
        if self.refresh == "post":
            self.unrefreshed_ = signals.index
            if self.ages_ is not None:
                self.ages_.saw(signals.index)
        else:
            self._saw(signals)

    def _saw(self, signals: Signals) -> None:
        self.store(signals)
        if self.ages_ is not None:
            self.ages_.saw(signals.index)
        if self.carried_ is not None:
            self.carried_.saw(signals)

    @abstractmethod
    def fresh_values(self, signals: Signals) -> Tensor:
        """(m,) the values of these examples, non-negative."""

    def first_values(self, probe: Probe) -> None:
        """The values of all N examples, when the stream begins."""
        signals = probe(self.pool.everyone)
        self.store_all(signals)
        if self.carried_ is not None:
            self.carried_.begin(signals)

    def store(self, signals: Signals) -> None:
        """Write the values that these signals give to the examples they are of, and to no other."""
        self.tree_.update(signals.index, self.clipped(self.tempered(signals)))

    def store_all(self, signals: Signals) -> None:
        """Write the values of the whole pool at once: there are no others beside them."""
        values = self.tempered(signals)
        self.tree_.update(signals.index, self.clipped(values, among=values))

    def tempered(self, signals: Signals) -> Tensor:
        """(m,) the values of these examples as they are stored."""
        values = self.fresh_values(signals)
        return values if self.temper == 1.0 else values**self.temper

    def clipped(self, values: Tensor, among: Tensor | None = None) -> Tensor:
        """(m,) values, none above `clip` times the mean of what is stored, or of the (N,) `among` that are about to be."""
        if self.clip is None:
            return values
        mean = self.tree_.total / self.pool.size if among is None else among.double().mean()
        return torch.where(mean > 0, values.minimum((self.clip * mean).to(values.dtype)), values)

    def _mixed(self, probability: Tensor) -> Tensor:
        return probability if self.mix == 0 else (1.0 - self.mix) * probability + self.mix / self.pool.size

    def stored_values(self) -> Tensor | None:
        if not self.valued_:
            return None
        return self.tree_.values if self.temper == 1.0 else self.tree_.values ** (1.0 / self.temper)

    def draw_probability(self) -> Tensor | None:
        return self._mixed(self.tree_.probability())

    def counters(self) -> dict[str, Tensor | int]:
        return {"uniform_draws": self.tree_.uniform_draws, "repaired_values": self.tree_.repaired}
