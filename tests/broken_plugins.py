"""Samplers that keep the contract (`Good...`) and samplers that break it in one way each, for the checks to tell apart.

Every broken one is a good one with a single fault; its docstring says which.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper


@dataclass
class Good(Sampler):
    """Independent uniform draws: the smallest sampler there is."""

    gain: float = hyper(1.0, above=0.0)

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices())

    def indices(self) -> Tensor:
        return torch.randint(self.pool.size, (self.pool.batch_size,), generator=self.generator_)


@dataclass
class GoodStreaming(Good):
    """Keeps a loss per example, draws in proportion, and weighs against it: state, a probe, weights."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.loss_ = probe(pool.everyone).loss + 0.01

    def draw(self, probe: Probe, progress: float) -> Batch:
        index = torch.multinomial(self.loss_, self.pool.batch_size, replacement=True, generator=self.generator_)
        weight = 1.0 / self.loss_[index]
        return Batch(index, weight / weight.mean())

    def observe(self, signals: Signals) -> None:
        self.loss_.scatter_reduce_(0, signals.index, signals.loss + 0.01, "amax", include_self=False)


# hyperparameters-round-trip


@dataclass
class AltersSettings(Good):
    """The constructor stores another number than it was given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gain = min(self.gain, 0.5)


@dataclass
class AcceptsAnything(Good):
    """The types of hyperparameters are not checked."""

    def __post_init__(self) -> None:
        pass


class ForgotDataclass(Good):
    """A hyperparameter without `@dataclass` above the class."""

    speed: float = hyper(1.0)


@dataclass
class SettingsBeyondYaml(Good):
    """A hyperparameter that YAML gives back as something else."""

    pair: Any = (1, 2)


# legal-draws


@dataclass
class ShortIntegers(Good):
    """int32 indices."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices().int())


@dataclass
class TooMany(Good):
    """n + 1 indices."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        index = self.indices()
        return Batch(torch.cat([index, index[:1]]))


@dataclass
class CountsFromTheEnd(Good):
    """Negative indices, which PyTorch would accept in silence."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices() - 1)


@dataclass
class ManySizes(Good):
    """A mini-batch of another size at every step."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices()[: 8 + int(progress * 8)])


# finite-weights


@dataclass
class NegativeWeights(Good):
    """One negative weight."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices(), torch.ones(self.pool.batch_size).index_fill_(0, torch.tensor([0]), -0.1))


@dataclass
class WholeWeights(Good):
    """Weights that are no floating-point numbers."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices(), torch.ones(self.pool.batch_size, dtype=torch.int64))


@dataclass
class RateOnTheDevice(Good):
    """A learning-rate factor that the loop would have to read back."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.indices(), lr_scale=torch.ones(()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# never-waits-for-host


@dataclass
class ReadsInObserve(Good):
    """Reads the mean loss after every step."""

    def observe(self, signals: Signals) -> None:
        self.mean_ = signals.loss.mean().item()


@dataclass
class MasksInDraw(Good):
    """Selects by a boolean mask at every step."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        index = self.indices()
        return Batch(index[index >= 0])


@dataclass
class DeclaresInVain(Good):
    """Says that it waits, and does not."""

    @property
    def waits_for_host(self) -> str:
        return "better safe than sorry"


# same-seed-same-draws, other-seed-other-draws


@dataclass
class SeedsFromTheClock(Good):
    """A seed from the system."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.generator_.seed()


@dataclass
class FixedSeed(Good):
    """A seed of its own, whatever the pool's."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.generator_.manual_seed(0)


# resumes-bit-equal


@dataclass
class ForgetsItsPlace(Good):
    """State in an attribute that does not end in _."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.turn = 0

    def draw(self, probe: Probe, progress: float) -> Batch:
        self.turn += 1
        return Batch((self.indices() + self.turn) % self.pool.size)


@dataclass
class LiveState(GoodStreaming):
    """Hands out the very tensor that it goes on writing to."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator_": self.generator_.get_state(), "loss_": self.loss_}


@dataclass
class KeepsWhatItLoads(GoodStreaming):
    """Takes over the loaded tensor and writes to it."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator_.set_state(state["generator_"])
        self.loss_ = state["loss_"]


@dataclass
class UnsafeState(Good):
    """A state that is more than tensors and plain values."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.budget_ = Decimal("0.1")


# survives-extreme-losses


@dataclass
class NothingLeft(GoodStreaming):
    """Draws in proportion to bare losses, which may all be zero."""

    def observe(self, signals: Signals) -> None:
        self.loss_.scatter_reduce_(0, signals.index, signals.loss, "amax", include_self=False)

    def draw(self, probe: Probe, progress: float) -> Batch:
        self.loss_ = probe(self.pool.everyone).loss
        return Batch(torch.multinomial(self.loss_, self.pool.batch_size, replacement=True, generator=self.generator_))


@dataclass
class NeverSatisfied(Good):
    """Probes until a loss is above zero."""

    @property
    def waits_for_host(self) -> str:
        return "looks for an example that is not learned yet"

    def draw(self, probe: Probe, progress: float) -> Batch:
        while True:
            signals = probe(self.indices())
            if signals.loss.max() > 0:
                return Batch(signals.index)


# clean-labels-out-of-reach


@dataclass
class WalksTheFrames(Good):
    """Looks for clean labels in whoever called it, and prefers examples that are labelled rightly."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        index = self.indices()
        clean = self.peek()
        if clean is not None:
            right = clean[index] == self.pool.labels[index]
            index = torch.where(right, index, index.roll(1))
            index = torch.where(right.any(), index, index.flip(0))
        return Batch(index)

    def peek(self) -> Tensor | None:
        frame = sys._getframe()
        while frame is not None:
            for value in frame.f_locals.values():
                found = getattr(value, "clean_labels", None)
                if found is not None:
                    return found
            frame = frame.f_back
        return None


# learns-a-toy-task


@dataclass
class OneClassOnly(Good):
    """Draws the first class and no other."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        of_first_class = (self.pool.labels == 0).double()
        n = self.pool.batch_size
        return Batch(torch.multinomial(of_first_class, n, replacement=True, generator=self.generator_))


# small-pool-refused


@dataclass
class TakesAnyPool(Good):
    """Starts without asking how many examples there are."""

    def start(self, pool: Pool, probe: Probe) -> None:
        self.pool = pool
        self.generator_ = torch.Generator().manual_seed(pool.seed)


# leaves-globals-alone


@dataclass
class GlobalGenerator(Good):
    """Draws a number from torch's global generator, if only to throw it away."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        torch.rand(1)
        return super().draw(probe, progress)


@dataclass
class SwitchesTheMode(Good):
    """Reaches through the probe and leaves the network in eval mode."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        probe.network.eval()  # pyright: ignore[reportAttributeAccessIssue]
        return super().draw(probe, progress)


# observes-without-altering


@dataclass
class ScalesInPlace(Good):
    """Writes to the losses it was shown."""

    def observe(self, signals: Signals) -> None:
        signals.loss.mul_(0.5)


@dataclass
class Relabels(Good):
    """Writes to the pool's labels."""

    def draw(self, probe: Probe, progress: float) -> Batch:
        self.pool.labels.copy_(self.pool.labels.flip(0))
        return super().draw(probe, progress)
