"""The contracts: what a sampler and a scenario are shown, and what they answer.

Shapes: N examples in the pool, n in a mini-batch, m in one forward pass, K classes.
A sampler meets the network through `probe` alone, so everything that it learns about an example is charged.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robuststream.entropy import entropy, finite
from robuststream.errors import UserError
from robuststream.hyperparameters import Hyperparameters

LOSS_CEILING = 1e4
"""Nats. A loss that is infinite is reported to samplers as this; one that is not a number as log K (knows nothing)."""


def finite_loss(loss: Tensor, num_classes: int) -> Tensor:
    """(m,) float32 losses as samplers and records see them: see LOSS_CEILING."""
    return loss.float().nan_to_num(nan=math.log(num_classes), posinf=LOSS_CEILING)


class Stored(Protocol):
    """Images that stay on disk."""

    def read(self, rows: Tensor) -> Tensor:
        """(n,) int64 rows of the data set's own order, on the CPU -> (n, H, W, C) uint8. Called from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """Images with their observed labels: a part of a data set, on one device."""

    images: Tensor  # (N, C, H, W) uint8; where they are stored, a meta tensor: it has the shape and no values
    labels: Tensor  # (N,) int64, as observed
    rows: Tensor  # (N,) int64, each example's row in the data set's own training (or test) order; -1: a foreign image
    num_classes: int  # K
    dataset: str  # the data set's name, for maps that belong to it
    total: int  # examples in that order, of which these may be a part
    stored: Stored | None = None  # where the images are on disk: read there by `rows`


@dataclass(frozen=True, slots=True)
class Pool:
    """The training set as a sampler may know it: observed labels, never the clean ones."""

    size: int  # N
    batch_size: int  # n, examples per mini-batch
    num_classes: int  # K
    labels: Tensor  # (N,) int64, as observed
    seed: int

    @property
    def everyone(self) -> Tensor:
        """(N,) all indices, in order."""
        return torch.arange(self.size, device=self.labels.device)


@dataclass(frozen=True, slots=True)
class Signals:
    """What one forward pass revealed about m examples. Repeats allowed; no gradient; all but `outputs` is finite."""

    index: Tensor  # (m,) int64
    labels: Tensor  # (m,) int64
    outputs: Tensor  # (m, K) of the network, without gradient, whatever they are; see `logits`
    loss: Tensor  # (m,) float32, nats, before any weight

    @staticmethod
    def of(index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor | None = None) -> Signals:
        """Build from raw network outputs; `loss` (m,) may be handed over where it is already known."""
        outputs = logits.detach() if logits.requires_grad else logits  # a step does without what it can
        if loss is None:
            loss = F.cross_entropy(outputs.float(), labels, reduction="none")
        return Signals(index, labels, outputs, finite_loss(loss.detach() if loss.requires_grad else loss, outputs.shape[1]))

    @property
    def logits(self) -> Tensor:
        """(m, K) float32, finite; made when they are asked for, since many samplers never ask."""
        return finite(self.outputs.float(), LOSS_CEILING)

    @property
    def correct(self) -> Tensor:
        """(m,) bool: the most probable class is the observed label."""
        return self.logits.argmax(1) == self.labels

    @property
    def confidence(self) -> Tensor:
        """(m,) float32 in (0, 1]: the largest softmax probability."""
        return self.logits.softmax(1).amax(1)

    @property
    def entropy(self) -> Tensor:
        """(m,) float32, nats: Shannon entropy of the softmax; no label is used."""
        return entropy(self.outputs.float(), LOSS_CEILING)

    @property
    def margin(self) -> Tensor:
        """(m,) float32 in [-1, 1]: probability of the observed label less that of the best other class."""
        p = self.logits.softmax(1)
        own = p.gather(1, self.labels[:, None]).squeeze(1)
        other = p.scatter(1, self.labels[:, None], -1.0).amax(1)
        return own - other

    @property
    def el2n(self) -> Tensor:
        """(m,) float32: Euclidean norm of softmax less one-hot label [Paul et al., 2021]."""
        return (self.logits.softmax(1) - F.one_hot(self.labels, self.outputs.shape[1])).norm(dim=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimizer step learns from."""

    index: Tensor  # (n,) int64
    weight: Tensor | None = None  # (n,) float32, multiplies each loss; None means ones
    lr_scale: float = 1.0  # multiplies the scheduled learning rate
    places: Tensor | None = None  # (n,) int64: where in this draw's probe of mode "lesson" they stood; its activations are reused


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the training forward pass of one mini-batch gave. The learner makes its objective of the first two."""

    logits: Tensor  # (n, K), with their graph
    loss: Tensor  # (n,) nats, their cross-entropy, with its graph
    penalty: Tensor | None = None  # (n,) nats, with its graph: the scenario's own term, added to the learner's objective
    shown: Tensor | None = None  # (n, K) logits that the sampler sees where they are not those above


class Companion(Protocol):
    """An auxiliary network that a sampler trains and asks; every pass is charged at that network's own price.

    Kept in an attribute that ends in _, it is part of the sampler's state like a generator.
    """

    def __call__(self, index: Tensor) -> Signals:
        """Signals of the (m,) indices from plain images, in eval mode, without gradient."""
        ...

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        """One optimizer step on the (n,) indices at the recipe's learning rate of `progress` in [0, 1]."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Probe(Protocol):
    """A metered, gradient-free forward pass over examples of the pool, without augmentation."""

    def __call__(self, index: Tensor, mode: Literal["eval", "train", "lesson"] | None = None) -> Signals:
        """Signals of the (m,) indices. `mode` None is the recipe's `probe_mode` (eval unless it says otherwise).

        "lesson" is the pass that training makes, augmented and in train mode, for a sampler that `reuses` it.
        """
        ...

    def companion(self, model: str = "") -> Companion:
        """A fresh auxiliary network with the recipe's optimizer: the recipe's own architecture, or a model by name.

        Asked for in `Sampler.start`, always in the same order, so that a resumed run finds the same ones.
        """
        ...


class Stateful:
    """Attributes that end in _ are state: a checkpoint keeps them."""

    @property
    def home(self) -> torch.device:
        """Where tensors of the state are restored to."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Every attribute that ends in _, as tensors and plain values."""
        names = [name for name in vars(self) if name.endswith("_") and not name.startswith("__")]
        return {name: _pack(getattr(self, name)) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`, on a plug-in that has been started on the same pool."""
        for name, value in state.items():
            current = getattr(self, name, None)
            if isinstance(current, torch.Generator):
                current.set_state(value)
            elif isinstance(current, deque):
                setattr(self, name, deque(value, maxlen=current.maxlen))
            elif hasattr(current, "load_state_dict"):
                current.load_state_dict(value)  # type: ignore[union-attr]
            else:
                setattr(self, name, value.to(self.home, copy=True) if isinstance(value, Tensor) else value)


class Sampler(Stateful, Hyperparameters, ABC):
    """Decides what is learned next. Fields are hyperparameters; attributes ending in _ are state.

    A subclass is a `@dataclass` in a file that bears its name. Its docstring is read by `robuststream list`: a first line
    that says what it does, then `Paper:`, `Cost:` and `Deviations:`. It draws from `self.generator_` and from no other.
    """

    @property
    def home(self) -> torch.device:
        return self.pool.labels.device

    @property
    def waits_for_host(self) -> str:
        """Why `draw` must read values back from the device inside an epoch; '' where it never does."""
        return ""

    @property
    def reuses(self) -> bool:
        """Whether it probes in mode "lesson" and learns from those activations; refused where a run cannot have it."""
        return False

    @property
    def selects(self) -> bool:
        """Whether signals decide what is drawn; False where they do not, and so a placebo would be the sampler itself."""
        return True

    def start(self, pool: Pool, probe: Probe) -> None:
        """Once, before the first draw: allocate tables; may probe. An override calls `super().start(pool, probe)` first.

        Raises UserError where the pool holds fewer examples than one mini-batch.
        """
        if pool.size < pool.batch_size:
            raise UserError(
                f"{type(self).__name__}: a pool of {pool.size} examples is too small for mini-batches of {pool.batch_size}; "
                f"lower batch_size to {pool.size} or less"
            )
        self.pool = pool
        self.generator_ = torch.Generator(pool.labels.device).manual_seed(pool.seed)

    @abstractmethod
    def draw(self, probe: Probe, progress: float) -> Batch:
        """Every step: what to learn from next. `progress` in [0, 1] is the spent fraction of the budget."""

    def observe(self, signals: Signals) -> None:
        """After every step: what the training forward pass of the drawn mini-batch revealed."""

    # What the diagnostics may ask, off the clock. The defaults say that nothing is stored.

    def stored_values(self) -> Tensor | None:
        """(N,) the stored per-example difficulty that decides what is drawn; None where nothing is stored."""
        return None

    @property
    def stores_shares(self) -> bool:
        """Whether the stored values are shares that sum to 1 over the pool, so that fresh ones compare only after scaling."""
        return False

    def fresh_values(self, signals: Signals) -> Tensor:
        """(m,) what `stored_values` would hold for these examples if it were computed from these signals now."""
        return signals.loss

    def draw_probability(self) -> Tensor | None:
        """(N,) the probability of each example at the next draw, sum 1; None where the method has none."""
        return None

    def counters(self) -> dict[str, Tensor | int]:
        """Events worth reporting at the end of a run, counted on the device (name -> count)."""
        return {}


def _pack(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, deque):
        return list(value)
    return value.state_dict() if hasattr(value, "state_dict") else value


class Learner(Stateful, Hyperparameters, ABC):
    """What the network makes of a drawn mini-batch: the objective. A subclass is a `@dataclass`, documented as a sampler is.

    Samplers see the plain cross-entropy whatever the objective is, so that they choose alike under every learner.
    """

    @property
    def home(self) -> torch.device:
        return self.pool.labels.device

    def start(self, pool: Pool, probe: Probe) -> None:
        """Once, after the sampler's: may ask `probe` for a companion. An override calls `super().start(pool, probe)` first."""
        self.pool = pool

    @abstractmethod
    def objective(self, index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        """Every step: (n,) the loss of each example, of which the (weighted) mean is descended.

        `logits` (n, K) and the cross-entropies `loss` (n,) carry gradients; `progress` in [0, 1] is the budget's spent share.
        """


class Scenario(Stateful, Hyperparameters):
    """What makes the world hostile. Every default is the clean world; a subclass is a `@dataclass`.

    Fields are hyperparameters; attributes ending in _ are state. It draws from the generators that it is handed and no other.
    """

    @property
    def home(self) -> torch.device:
        return self.generator_.device

    @property
    def hostile(self) -> bool:
        """Whether it has its own way with mini-batches: images then come in [0, 1], else as the network first makes them."""
        return any(getattr(type(self), name) is not getattr(Scenario, name) for name in ("perturb", "learn"))

    @property
    def replays(self) -> int:
        """Optimizer steps on every drawn mini-batch, each with its own `perturb`, `learn` and `learned`."""
        return 1

    def corrupt(self, train: Split, generator: torch.Generator) -> Split:
        """Once, before training: may change observed labels or images. Draws from `generator` alone (a CPU generator)."""
        return train

    def facts(self) -> dict[str, Any]:
        """What `corrupt` did beside the labels and what it cost, as a result records it: plain values, under the file's name."""
        return {}

    def start(self, train: Split, generator: torch.Generator) -> None:
        """Once, after `corrupt`: the pool as it will be trained on, and the generator of attacks, on the pool's device.

        An override calls `super().start(train, generator)` first.
        """
        self.generator_ = generator

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Every mini-batch: (n, C, H, W) float in [0, 1] to the same; passes through `model` are charged.

        A backward pass in here is charged as one to the images alone. Reads nothing back from the device.
        """
        return images

    def learn(self, model: nn.Module, images: Tensor, labels: Tensor) -> Lesson:
        """The training forward pass on what `perturb` has just answered with; passes through `model` are charged."""
        logits = model(images)
        return Lesson(logits, F.cross_entropy(logits, labels, reduction="none"))

    def learned(self, gradient: Tensor) -> None:
        """After the backward pass, where `perturb` answered with a leaf that requires a gradient: that gradient (n, C, H, W)."""

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Figures to stand beside clean accuracy (name -> number), on a split that was never trained on; shares from 0 to 1."""
        return {}
