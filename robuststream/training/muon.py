"""Muon for matrices, SGD with Nesterov momentum for everything else: one optimizer, two kinds of groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic: chosen in the source for its slope at zero; singular values end between about 0.7 and 1.2."""


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised Nesterov momentum of every filter bank or matrix, whose norm is kept at sqrt(rows).

    Source: Jordan et al., Muon, 2024, with the weight normalisation of its CIFAR-10 speed record. Parameters of fewer than two
    dimensions, and those in `plain`, take Nesterov SGD steps with `weight_decay` instead, at `plain_factor` times the rate.
    torch's own Muon takes matrices only, so no convolutions.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        plain: Iterable[Tensor] = (),
        plain_factor: float = 1.0,
        steps: int = 3,
    ) -> None:
        apart = {id(parameter) for parameter in plain}
        groups: dict[bool, list[Tensor]] = {True: [], False: []}
        for parameter in parameters:
            groups[parameter.ndim >= 2 and id(parameter) not in apart].append(parameter)
        kinds: list[dict[str, Any]] = [
            {"params": groups[True], "orthogonal": True, "lr_factor": 1.0},
            {"params": groups[False], "orthogonal": False, "lr_factor": plain_factor},
        ]
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__([kind for kind in kinds if kind["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Without a closure: nothing here evaluates a loss twice."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if not group["orthogonal"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        average = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        direction = gradient.add(average, alpha=group["momentum"])
        if group["orthogonal"]:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
            direction = orthogonalise(direction.flatten(1), group["steps"]).view(parameter.shape)
        parameter.add_(direction, alpha=-group["lr"])


def orthogonalise(matrix: Tensor, steps: int) -> Tensor:
    """(a, b) -> nearly U V^T of its singular value decomposition, by Newton-Schulz iterations; in bf16 on an accelerator."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x if x.device.type == "cpu" else x.bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
