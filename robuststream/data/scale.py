"""What the bytes of images become: numbers in [0, 1], or what a network's first layer would make of those."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scale:
    """byte / 255, normalised where mean and deviation are given, in the wanted precision: to the bit as layers would do it."""

    mean: Tensor | None = None  # (C, 1, 1) float32, on the scale [0, 1]
    std: Tensor | None = None
    dtype: torch.dtype = torch.float32  # or bfloat16
    planar: bool = False  # wanted in memory as (n, C, H, W), where that costs nothing; else as (n, H, W, C)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(n, C, H, W) uint8 -> the same of `dtype`."""
        values = pixels.float().div_(255)
        if self.mean is not None and self.std is not None:
            values = values.sub_(self.mean).div_(self.std)
        return values.to(self.dtype)

    @cached_property
    def table(self) -> Tensor:
        """(C or 1, 256): the number of every byte of every channel."""
        channels = 1 if self.mean is None else len(self.mean)
        levels = torch.arange(256, dtype=torch.uint8).expand(1, channels, 1, 256)
        return self(levels.to("cpu" if self.mean is None else self.mean.device))[0, :, 0].contiguous()


UNIT = Scale()
"""In [0, 1], as scenarios see images."""
