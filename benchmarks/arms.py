"""Who takes part in step.py: samplers that a training loop asks for a mini-batch and tells what it revealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from contenders import Contender, Ours
from contenders.plain import Choice, Multinomial
from contenders.trees import TorchrlSampler
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Signals
from robuststream.samplers._streaming import Streaming
from robuststream.samplers.peb import PEB
from robuststream.samplers.plb import PLB

BATCH = 128
PEERS: tuple[type[Contender], ...] = (Multinomial, TorchrlSampler, Choice)
CHOICE_UP_TO = 10**6  # above, one of its steps takes longer than fifty others


class Arm(Protocol):
    """The part of robuststream's Sampler that a step calls."""

    def draw(self, probe: Probe, progress: float) -> Batch: ...
    def observe(self, signals: Signals) -> None: ...


@dataclass
class Uniform:
    """The cheapest sampler that there is: independent uniform draws, nothing stored."""

    size: int
    generator: torch.Generator

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(torch.randint(self.size, (BATCH,), generator=self.generator))

    def observe(self, signals: Signals) -> None: ...


@dataclass
class Proportional:
    """Draws in proportion to a contender's values, and stores the new loss of every example that was seen."""

    contender: Contender

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.contender.tensor(self.contender.draw(BATCH)))

    def observe(self, signals: Signals) -> None:
        contender = self.contender
        contender.update(contender.array(signals.index), contender.array(signals.loss))


METHODS: dict[str, type[Streaming]] = {"PLB": PLB, "PEB": PEB}


def ours(method: str, form: type[Ours], size: int) -> Arm:
    """robuststream's own sampler as it is after its pool was valued, on the wanted form of the tree."""
    sampler = METHODS[method](warmup_epochs=0.0)
    sampler.start(Pool(size, BATCH, 2, torch.zeros((), dtype=torch.int64).expand(size), seed=1), no_probe)
    sampler.tree_ = form(start_values(size), seed=1).tree
    sampler.valued_ = True
    return sampler


def no_probe(index: Tensor, mode: object = None) -> Signals:
    raise RuntimeError("nothing is probed in this benchmark")


def start_values(size: int) -> Tensor:
    return torch.empty(size).exponential_(generator=torch.Generator().manual_seed(size))


def arms(size: int, *, forms: Sequence[type[Ours]], peers: Sequence[type[Contender]]) -> tuple[dict[str, Arm], dict[str, str]]:
    """Everyone who runs at this size, uniform first, and the reasons of those who do not."""
    there: dict[str, Arm] = {"uniform": Uniform(size, torch.Generator().manual_seed(1))}
    absent: dict[str, str] = {}
    for form in forms:
        for method in METHODS:
            _add(there, absent, f"{method}, {form.name}", form.missing(), lambda m=method, f=form: ours(m, f, size))
    for peer in peers:
        reason = peer.missing() or _too_large(peer, size)
        _add(there, absent, f"PLB, {peer.name}", reason, lambda p=peer: Proportional(p(start_values(size), seed=1)))
    return there, absent


def _add(there: dict[str, Arm], absent: dict[str, str], name: str, reason: str, make: Callable[[], Arm]) -> None:
    if reason:
        absent[name] = reason
    else:
        there[name] = make()


def _too_large(peer: type[Contender], size: int) -> str:
    if peer.limit is not None and size > peer.limit:
        return f"at most {peer.limit:,} examples"
    return f"not above {CHOICE_UP_TO:,}: it costs O(N)" if peer is Choice and size > CHOICE_UP_TO else ""
