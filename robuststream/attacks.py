"""Attacks on inputs, from torchattacks, the only module that imports it: nothing that an attack disturbs stays disturbed.

An attack is a name and a `Strength`; eps is the radius of an L-infinity ball around images in [0, 1]. Standard AutoAttack is
put together here with the authors' own settings: torchattacks' class of that name takes 10 steps where they take 100.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robuststream.config import ATTACKS
from robuststream.errors import UserError, meant
from robuststream.hyperparameters import Hyperparameters, hyper

PARTS = {"autoattack": ("apgd-ce", "apgd-t", "fab-t", "square")}
"""An attack that consists of others, each on what the earlier ones left correct [Croce and Hein, ICML 2020; version standard]."""

MEANINGS = {
    "fgsm": ("one step of eps along the sign of the gradient", "Goodfellow et al., ICLR 2015"),
    "pgd": ("projected gradient ascent from a random start", "Madry et al., ICLR 2018"),
    "apgd-ce": ("PGD on cross-entropy that halves its step by itself", "Croce and Hein, ICML 2020"),
    "square": ("random search with squares of pixels; no gradient", "Andriushchenko et al., ECCV 2020"),
    "autoattack": ("apgd-ce, apgd-t, fab-t and square, the standard version: what claims rest on", "Croce and Hein, ICML 2020"),
}
"""Name -> what it does, and its paper."""

FEWEST_CLASSES = 4
"""What the targeted loss of APGD-T needs: it divides by a difference of the first to the third and fourth largest logits."""


@dataclass(frozen=True)
class Strength(Hyperparameters):
    """How hard an attack tries. The defaults are those of the rules (PGD-20) and of AutoAttack's standard version."""

    steps: int = hyper(20, low=1, help="gradient steps of pgd")
    reach: float = hyper(2.5, above=0, help="pgd's step size is this times eps / steps, so that it can cross its ball")
    random_start: bool = hyper(True, help="pgd starts at a random point of the ball")
    iterations: int = hyper(100, low=1, help="steps of apgd-ce, and of apgd-t and fab-t towards each target class")
    targets: int = hyper(9, low=1, help="target classes of apgd-t and fab-t, the most probable wrong ones")
    queries: int = hyper(5000, low=1, help="forward passes of square")


STANDARD = Strength()


def attack(
    name: str,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seed: int,
    strength: Strength = STANDARD,
) -> Tensor:
    """Adversarial images (n, C, H, W) within eps of `images` and in [0, 1], for `labels` (n,), without a gradient.

    The network takes images in [0, 1] to logits, normalises inside, and is in eval mode meanwhile. Modes of its modules,
    `requires_grad` and gradients of its parameters and every global generator are afterwards what they were; what is drawn
    depends on `seed` alone. Reads values back to the host.
    Raises UserError for an unknown name, an eps outside 0 to 1 and images outside [0, 1].
    """
    require(name)
    if not 0.0 <= eps <= 1.0:
        raise UserError(f"attack '{name}': eps={eps} is not possible (allowed: 0 to 1, the scale of the images)")
    if not len(images) or eps == 0.0:
        return images.clone()
    _check_scale(name, images)
    with _undisturbed(network, seed):
        found = _attacked(name, network, images.detach(), labels, eps, seed, strength)
    # FAB divides by gradients: where they vanish it answers with no number, which is no image and so no attack.
    found = torch.where(found.isfinite(), found, images)
    return found.clamp(images - eps, images + eps).clamp(0.0, 1.0).detach()


def require(name: str) -> None:
    """Refuse an attack that does not exist."""
    if name not in ATTACKS and name not in _BUILDERS:
        raise UserError(f"unknown attack '{name}'; {meant(name, ATTACKS)}")


def _check_scale(name: str, images: Tensor) -> None:
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):  # also where one is no number
        raise UserError(
            f"attack '{name}': images go from {low:.3g} to {high:.3g}, they must lie in [0, 1]; a network normalises inside"
        )


def _attacked(name: str, network: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int, strength: Strength) -> Tensor:
    if name not in PARTS:
        built = _BUILDERS[name](_Task(network, eps, seed, strength, images))
        built.set_device(images.device)
        return built(images, labels).detach()
    found = images.clone()
    standing = torch.arange(len(images), device=images.device)
    for part in PARTS[name]:
        tried = _attacked(part, network, images[standing], labels[standing], eps, seed, strength)
        with torch.no_grad():
            fooled = network(tried).argmax(1) != labels[standing]
        found[standing[fooled]] = tried[fooled]
        standing = standing[~fooled]
        if not len(standing):
            break
    return found


@dataclass(frozen=True)
class _Task:
    """What an attack of torchattacks is built from."""

    network: nn.Module
    eps: float
    seed: int
    strength: Strength
    images: Tensor

    def targets(self, name: str) -> int:
        """How many classes to aim at. Raises UserError where the network has too few for the loss to exist."""
        with torch.no_grad():
            classes = self.network(self.images[:1]).shape[1]
        if classes < FEWEST_CLASSES:
            raise UserError(f"attack '{name}' needs {FEWEST_CLASSES} classes or more, this network has {classes}; use apgd-ce")
        return min(self.strength.targets, classes - 1)


def _fgsm(task: _Task) -> Any:
    from torchattacks import FGSM

    return FGSM(task.network, eps=task.eps)


def _pgd(task: _Task) -> Any:
    from torchattacks import PGD

    wanted = task.strength
    alpha = wanted.reach * task.eps / wanted.steps
    return PGD(task.network, eps=task.eps, alpha=alpha, steps=wanted.steps, random_start=wanted.random_start)


def _apgd_ce(task: _Task) -> Any:
    from torchattacks import APGD

    return APGD(task.network, eps=task.eps, steps=task.strength.iterations, seed=task.seed, loss="ce")


def _apgd_t(task: _Task) -> Any:
    from torchattacks import APGDT

    targets = task.targets("apgd-t")
    return APGDT(task.network, eps=task.eps, steps=task.strength.iterations, seed=task.seed, n_classes=targets + 1)


def _fab_t(task: _Task) -> Any:
    from torchattacks import FAB

    targets, steps = task.targets("fab-t"), task.strength.iterations
    return FAB(task.network, eps=task.eps, steps=steps, seed=task.seed, multi_targeted=True, n_classes=targets + 1)


def _square(task: _Task) -> Any:
    from torchattacks import Square

    # The authors' AutoAttack does not stretch the schedule of square sizes to the number of queries.
    return Square(task.network, eps=task.eps, n_queries=task.strength.queries, seed=task.seed, resc_schedule=False)


_BUILDERS: dict[str, Callable[[_Task], Any]] = {
    "fgsm": _fgsm,
    "pgd": _pgd,
    "apgd-ce": _apgd_ce,
    "apgd-t": _apgd_t,
    "fab-t": _fab_t,
    "square": _square,
}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards every module in the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _undisturbed(network: nn.Module, seed: int) -> Iterator[None]:
    """Eval mode, no parameter that asks for a gradient, torch's generators at `seed`; afterwards everything as before.

    torchattacks sets modes with one `train()`, which wakes a BatchNorm that was frozen; several of its attacks reseed the
    global generators; and FAB's backward pass would add to the gradients of the weights.
    """
    learns = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- only to give them back untouched
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad(), evaluating(network):
            torch.manual_seed(seed)
            for parameter, _ in learns:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter, required in learns:
            parameter.requires_grad_(required)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
