"""Adversarial examples in a ball: the inner loop of every attack that training pays for. Torch alone; nothing waits for the host.

torchattacks' PGD does the same (tests compare them bit for bit), but reads values back at every call and draws from the global
generator; `benchmarks/attacks.py` has what that costs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

Objective = Callable[[Tensor], Tensor]
"""(m, K) logits -> a scalar that the attack raises."""


def misclassify(labels: Tensor) -> Objective:
    """The mean cross-entropy against the (m,) labels: what PGD raises."""
    return lambda logits: F.cross_entropy(logits, labels)


def climb(
    model: nn.Module, images: Tensor, start: Tensor, objective: Objective, *, eps: float, alpha: float, steps: int
) -> Tensor:
    """Projected gradient ascent: `steps` times alpha along the gradient's sign, kept within eps of the images and within [0, 1].

    images and start are (m, C, H, W) in [0, 1]; so is the answer, without gradient. Costs `steps` forwards and as many
    backwards to the images.
    """
    attacked = start.detach()
    for _ in range(steps):
        attacked.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(model(attacked)), attacked)
        delta = (attacked.detach() + alpha * gradient.sign()).sub_(images).clamp_(-eps, eps)
        attacked = delta.add_(images).clamp_(0, 1)
    return attacked


def anywhere(images: Tensor, eps: float, generator: Generator) -> Tensor:
    """A uniformly random point of the ball around each image, cut to [0, 1]."""
    noise = torch.empty_like(images).uniform_(-eps, eps, generator=generator)
    return noise.add_(images).clamp_(0, 1)
