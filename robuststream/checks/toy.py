"""A toy world for the checks: Gaussian blobs, a tiny network and a training loop, on the CPU, in milliseconds.

N = 256 examples of D = 8 numbers in K = 4 classes, n = 16 in a mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robuststream.contracts import Batch, Pool, Sampler, Signals

SIZE, BATCH_SIZE, CLASSES, DIMENSIONS = 256, 16, 4, 8
EPOCH = SIZE // BATCH_SIZE
"""Steps."""
SPAN = 6 * EPOCH
"""Steps that a check watches: beyond every usual warm-up, with several epochs' borders inside."""
LEARNING_RATE = 0.2
PROBES_PER_DRAW = 64 * EPOCH
"""A draw that probes more often than this looks for what it will never find."""

Factory = Callable[[], Sampler]
Distortion = Callable[[Tensor, Tensor], Tensor]
"""(m, K) logits and (m,) labels to the (m, K) logits that a sampler is shown."""


def undistorted(logits: Tensor, labels: Tensor) -> Tensor:
    return logits


@dataclass
class ToyProbe:
    """The only door to the network that a sampler is given. It holds observed labels only."""

    inputs: Tensor  # (N, D)
    labels: Tensor  # (N,)
    network: nn.Module
    distortion: Distortion = undistorted
    calls: int = 0  # since the current draw began
    companions: int = 0  # made so far

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def __call__(self, index: Tensor, mode: Literal["eval", "train", "lesson"] | None = None) -> Signals:
        self.calls += 1
        assert self.calls <= PROBES_PER_DRAW, f"one draw probed {PROBES_PER_DRAW} times and found no mini-batch"
        self.network.train(mode in ("train", "lesson"))
        with torch.no_grad():
            logits = self.network(self.inputs[index])
        self.network.train()
        labels = self.labels[index]
        return Signals.of(index.clone(), labels, self.distortion(logits, labels))

    def companion(self, model: str = "") -> ToyCompanion:
        """Whatever the model's name, the toy has one architecture."""
        self.companions += 1
        network = _network(torch.Generator().manual_seed(1 + self.companions))
        return ToyCompanion(self.inputs, self.labels, network, self.distortion)


@dataclass
class ToyCompanion:
    """An auxiliary network of the toy world."""

    inputs: Tensor  # (N, D)
    labels: Tensor  # (N,)
    network: nn.Module
    distortion: Distortion

    def __call__(self, index: Tensor) -> Signals:
        with torch.no_grad():
            logits = self.network(self.inputs[index])
        return Signals.of(index.clone(), self.labels[index], self.distortion(logits, self.labels[index]))

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        assert 0.0 <= progress <= 1.0, f"progress is in [0, 1], not {progress}"
        return _learn(self, index, LEARNING_RATE, weight)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(state)


@dataclass
class ToyWorld:
    """A pool and its network. Two worlds of one seed are equal bit for bit, whatever their clean labels."""

    seed: int = 0
    size: int = SIZE
    distortion: Distortion = undistorted
    pool: Pool = field(init=False)
    probe: ToyProbe = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        labels = torch.arange(self.size) % CLASSES
        centres = 4.0 * torch.eye(CLASSES, DIMENSIONS)
        inputs = centres[labels] + torch.randn(self.size, DIMENSIONS, generator=generator)
        self.pool = Pool(self.size, BATCH_SIZE, CLASSES, labels.clone(), self.seed)
        self.probe = ToyProbe(inputs, labels, _network(generator), self.distortion)

    def accuracy(self) -> float:
        """Share of the pool whose most probable class is the observed label."""
        with torch.no_grad():
            return float((self.probe.network(self.probe.inputs).argmax(1) == self.probe.labels).double().mean())


def _network(generator: torch.Generator) -> nn.Module:
    network = nn.Sequential(nn.utils.skip_init(nn.Linear, DIMENSIONS, 16), nn.ReLU(), nn.utils.skip_init(nn.Linear, 16, CLASSES))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def _learn(learner: ToyProbe | ToyCompanion, index: Tensor, lr: float, weight: Tensor | None) -> Signals:
    """One step of SGD on the examples of (n,) indices; what its forward pass revealed."""
    labels, parameters = learner.labels[index], list(learner.network.parameters())
    logits = learner.network(learner.inputs[index])
    loss = F.cross_entropy(logits, labels, reduction="none")
    gradients = torch.autograd.grad((loss if weight is None else loss * weight).mean(), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= lr * gradient
    return Signals.of(index, labels, learner.distortion(logits.detach(), labels))


class ToyLoop:
    """The training loop in miniature. The three parts of a step stand alone, for checks that look between them."""

    def __init__(self, factory: Factory, world: ToyWorld, clean_labels: Tensor | None = None, span: int = SPAN) -> None:
        self.world = world
        self.span = span  # steps that the budget holds
        # The trainer knows the clean labels, as the real one does: the checks prove that samplers do not look.
        self.clean_labels = world.probe.labels if clean_labels is None else clean_labels
        self.sampler = factory()
        self.steps = 0
        world.probe.network.train()
        self.sampler.start(world.pool, world.probe)

    def run(self, steps: int) -> list[Batch]:
        return [self.step() for _ in range(steps)]

    def step(self) -> Batch:
        batch = self.draw()
        self.observe(self.learn(batch))
        return batch

    def draw(self) -> Batch:
        self.world.probe.calls = 0
        return self.sampler.draw(self.world.probe, min(self.steps / self.span, 1.0))

    def learn(self, batch: Batch) -> Signals:
        """One step of SGD on the drawn examples; what its forward pass revealed."""
        signals = _learn(self.world.probe, batch.index, LEARNING_RATE * batch.lr_scale, batch.weight)
        self.steps += 1
        return signals

    def observe(self, signals: Signals) -> None:
        self.sampler.observe(signals)
