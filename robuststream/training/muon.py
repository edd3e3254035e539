"""Muon for matrices and filter banks, beside SGD with Nesterov momentum for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from robuststream.training.direct import Sgd

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic: chosen in the source for its slope at zero; singular values end between about 0.7 and 1.2."""


class Muon:
    """Steps along the orthogonalised Nesterov momentum of every filter bank or matrix, whose norm is kept at sqrt(rows).

    Source: Jordan et al., Muon, 2024, with the weight normalisation of its CIFAR-10 speed record. What is in `beside` takes its
    own steps at the same time. torch's Muon takes matrices only, so no convolutions.
    """

    def __init__(
        self, filters: Iterable[Tensor], *, lr: float, momentum: float, beside: Sequence[Sgd] = (), steps: int = 3
    ) -> None:
        """`lr` is read from `param_groups` at every step; `steps` are iterations of the quintic."""
        self.filters, self.momentum, self.beside, self.steps = list(filters), momentum, beside, steps
        self.momenta = [torch.zeros_like(each) for each in self.filters]
        self._own: dict[str, Any] = {"lr": lr}
        self.param_groups = [self._own, *(group for each in beside for group in each.param_groups)]

    @torch.no_grad()
    def step(self) -> None:
        for parameter, momentum in zip(self.filters, self.momenta, strict=True):
            if parameter.grad is not None:
                self._move(parameter, momentum, parameter.grad)
        for each in self.beside:
            each.step()

    def _move(self, parameter: Tensor, momentum: Tensor, gradient: Tensor) -> None:
        momentum.mul_(self.momentum).add_(gradient)
        direction = gradient.add(momentum, alpha=self.momentum)
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.add_(orthogonalise(direction.flatten(1), self.steps).view(parameter.shape), alpha=-self._own["lr"])

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self._own["lr"], "momenta": self.momenta, "beside": [each.state_dict() for each in self.beside]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._own["lr"] = state["lr"]
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
        for each, saved in zip(self.beside, state["beside"], strict=True):
            each.load_state_dict(saved)


def orthogonalise(matrix: Tensor, steps: int) -> Tensor:
    """(a, b) -> nearly U V^T of its singular value decomposition, by Newton-Schulz iterations; in bf16 on an accelerator."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x if x.device.type == "cpu" else x.bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
