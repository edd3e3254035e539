"""The shortest way to torch's kernels. What torch does around them in Python (checks, hooks, lists made anew) takes as long as a
layer of a small network, at every step; here it is done once, or left out where it is true by construction."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def backward(losses: Tensor, shares: Tensor) -> None:
    """`losses.backward(shares)`, (n,) both: gradients are added to those of the leaves. The engine itself compares the shapes."""
    if not losses.is_cpu:  # the host is ahead of the device there, and other threads compute: torch's own way
        losses.backward(shares)
        return
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((losses,), (shares,), False, False, (), allow_unreachable=True, accumulate_grad=True)


@lru_cache(maxsize=4)
def equal_shares(n: int, device: torch.device) -> Tensor:
    """(n,) of 1 / n, made once: with them `backward` gives the gradient of the mean."""
    return torch.full((n,), 1.0 / n, device=device)


class Sgd:
    """SGD with Nesterov momentum and weight decay: torch.optim.SGD with `fused=True`, to the bit.

    For parameters of one type on one device; one without a gradient is left as it is. It is no torch.optim.Optimizer: to make
    one of these imports torch's compiler, which takes every process seconds.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float, lr_factor: float = 1.0
    ) -> None:
        """`lr` is read from `param_groups` at every step, as it is in torch's optimizers; it is `lr_factor` times what is set."""
        self.parameters, self.momentum, self.weight_decay = list(parameters), momentum, weight_decay
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters] if momentum else []
        self.param_groups: list[dict[str, Any]] = [{"lr": lr * lr_factor, "lr_factor": lr_factor}]

    def step(self) -> None:
        parameters, momenta = self.parameters, self.momenta
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if len(gradients) < len(parameters):
            learning = [place for place, parameter in enumerate(parameters) if parameter.grad is not None]
            parameters, momenta = ([each[place] for place in learning if each] for each in (parameters, momenta))
        with torch.no_grad():
            torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
                parameters,
                gradients,
                momenta,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=self.param_groups[0]["lr"],
                dampening=0.0,
                nesterov=self.momentum > 0,
                maximize=False,
                is_first_step=False,  # momenta begin at zero, which comes to the same
            )

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self.param_groups[0]["lr"], "momenta": self.momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.param_groups[0]["lr"] = state["lr"]
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)
