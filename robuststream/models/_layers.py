"""Layers and types that the networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

Count = Annotated[int, {"low": 1}]
"""A hyperparameter that counts things. What stands in braces are the limits of `hyperparameters.hyper`."""


class Normalise(nn.Module):
    """(n, C, H, W) in [0, 1] to zero mean and unit deviation per channel; `mean` and `std` on the scale [0, 1]."""

    mean: Tensor  # (C, 1, 1) float32
    std: Tensor

    def __init__(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Dropout(nn.Module):
    """Sets each activation to zero with chance `p` and divides the rest by 1 - p; draws from its own generator alone.

    A number is compared with 8 random bits, or 16 where `p` is no multiple of 1/256 (it is then rounded to one of 1/65536):
    a random float for each is a quarter of a convolutional network's step on a CPU.

    torch's Dropout draws from the global generator, which no two arms of a comparison may share. The generator is attached by
    `build`, must lie on the device of the activations, and is no part of the state_dict: whoever owns it saves it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, activations: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return activations
        if self.generator is None:
            raise RuntimeError("Dropout has no generator; networks that train are made by robuststream.models._build.build")
        return activations * self.factors(activations, self.generator)

    def factors(self, activations: Tensor, generator: torch.Generator) -> Tensor:
        """0 or 1 / (1 - p) for each activation, in their order of memory."""
        numbers = torch.int8 if (self.p * 256).is_integer() else torch.int16
        width, limits = numbers.itemsize, torch.iinfo(numbers)
        words = torch.empty(-(-activations.numel() * width // 8), dtype=torch.int64, device=activations.device)
        drawn = words.random_(-(2**63), None, generator=generator).view(numbers)[: activations.numel()]
        levels = 2 ** (8 * width)
        dropped = round(self.p * levels)
        least = limits.min + dropped  # kept are the numbers from here on; comparing is slow, clamping is not
        kept = drawn.clamp_(least - 1, least).sub_(least - 1)
        factors = torch.empty_like(activations)
        factors.as_strided(kept.shape, (1,)).copy_(kept)
        return factors.mul_(levels / (levels - dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(nn.Flatten):
    """(n, C, H, W) to (n, C H W), and the gradient back in the activations' own memory format.

    torch's comes back in its own; beside channels-last activations every operation before this one then goes element by element.
    """

    def forward(self, activations: Tensor) -> Tensor:
        return super().forward(activations) if activations.is_contiguous() else _ChannelsLast.apply(activations)  # pyright: ignore[reportReturnType]


class _ChannelsLast(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, activations: Tensor) -> Tensor:
        context.shape = activations.shape
        return activations.flatten(1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient.view(context.shape).contiguous(memory_format=torch.channels_last)
