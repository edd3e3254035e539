"""Placebos (rule 9): the selection of any sampler, deprived of what it selects by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from robuststream.contracts import Batch, Companion, Pool, Probe, Sampler, Signals


class Placebo(Sampler):
    """A sampler whose signals are dealt anew, at random, among the examples of every pass; its own logic is untouched.

    Of each pass (probe, training step or companion) the sampler sees the same rows, and so the same thresholds, ranks and
    counts: it hides, skips or keeps the same shares at the same price, and only who is hidden, skipped or kept is chance. The
    pool's labels are dealt anew once. An example that a mini-batch holds twice is given one row, as it had one loss. A pass
    over m examples leaves a sampler 1/m of what it knew: the chance that an example is dealt its own row.

    What is kept is a rule, not a number: later shares follow the losses of a network that learned from other examples.
    """

    def __init__(self, sampler: Sampler, generator: torch.Generator) -> None:
        """`generator` is a stream of its own, on the pool's device: the sampler's draws are those of the arm it stands beside."""
        self.sampler_, self.deal_ = sampler, generator

    def start(self, pool: Pool, probe: Probe) -> None:
        self.pool = pool
        labels = pool.labels[torch.randperm(pool.size, generator=self.deal_, device=pool.labels.device)]
        self.sampler_.start(replace(pool, labels=labels), _DealingProbe(probe, self.deal_))

    def draw(self, probe: Probe, progress: float) -> Batch:
        return self.sampler_.draw(_DealingProbe(probe, self.deal_), progress)

    def observe(self, signals: Signals) -> None:
        self.sampler_.observe(dealt(signals, self.deal_))

    @property
    def waits_for_host(self) -> str:
        return self.sampler_.waits_for_host

    @property
    def stores_shares(self) -> bool:
        return self.sampler_.stores_shares

    @property
    def reuses(self) -> bool:
        return self.sampler_.reuses

    def stored_values(self) -> Tensor | None:
        return self.sampler_.stored_values()

    def fresh_values(self, signals: Signals) -> Tensor:
        return self.sampler_.fresh_values(signals)

    def draw_probability(self) -> Tensor | None:
        return self.sampler_.draw_probability()

    def counters(self) -> dict[str, Tensor | int]:
        return self.sampler_.counters()


def dealt(signals: Signals, generator: torch.Generator) -> Signals:
    """The same m indices in the same places, with rows that are permuted among the distinct examples."""
    m, device = len(signals.index), signals.index.device
    order = signals.index.argsort(stable=True)
    grouped = signals.index[order]
    begins = torch.ones(m, dtype=torch.bool, device=device)
    begins[1:] = grouped[1:] != grouped[:-1]
    place = torch.arange(m, device=device)
    # (m,) for every row the first row of the same example; no shape depends on how many examples are distinct
    first = torch.empty_like(order).scatter_(0, order, order[torch.where(begins, place, 0).cummax(0).values])
    leads = first == place
    owners = torch.where(leads, place, m).argsort(stable=True)
    givers = torch.where(leads, torch.rand(m, generator=generator, device=device), 2.0).argsort(stable=True)
    given = torch.empty_like(order).scatter_(0, owners, givers)
    source = given[first]
    return Signals(signals.index, signals.labels[source], signals.outputs[source], signals.loss[source])


@dataclass(frozen=True)
class _DealingProbe:
    """What a placebo's sampler is handed in place of the probe."""

    probe: Probe
    deal: torch.Generator

    def __call__(self, index: Tensor, mode: Literal["eval", "train", "lesson"] | None = None) -> Signals:
        return dealt(self.probe(index, mode), self.deal)

    def companion(self, model: str = "") -> Companion:
        return _DealingCompanion(self.probe.companion(model), self.deal)


@dataclass(frozen=True)
class _DealingCompanion:
    """A companion learns as ever; only its answers are dealt anew."""

    companion: Companion
    deal: torch.Generator

    def __call__(self, index: Tensor) -> Signals:
        return dealt(self.companion(index), self.deal)

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        return dealt(self.companion.learn(index, progress, weight), self.deal)

    def state_dict(self) -> dict[str, Any]:
        return self.companion.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.companion.load_state_dict(state)
