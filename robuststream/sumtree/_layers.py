"""What a sum tree stores: layers, each the sums of the one below in groups of 32. Both backends work on these tensors."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch
from torch import Tensor

FANOUT = 32
"""Children of a sum: 128 bytes of float32 leaves; n * 32 stays below 32,768, where ATen would start OpenMP, up to n = 1023."""
SHIFT = 5
"""log2 of the fan-out: the parent of entry i is i >> SHIFT."""
WIDEST_TOP = 1024
"""The last layer is searched whole, by bisection of its running sums, which saves torch one or two layers of small operations."""
HUGE = 1 << 21
"""Bytes of a huge page of Linux on most processors."""
LIMITS = {torch.float32: (2.0**-149, torch.finfo(torch.float32).max), torch.float64: (2.0**-512, 2.0**512)}
"""Smallest and largest positive leaf: no sum of 2^62 of them overflows float64, and no uniform times a sum underflows."""


class Layers:
    """Layer 0 holds N leaves; entry i of layer k + 1 is the float64 sum of entries 32 i to 32 i + 31 of layer k, first to last.

    All but the last layer are padded with zeros to whole rows. The last (at most 1024 entries) is kept as running sums too.
    """

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.lengths = [size]  # entries, without padding
        while self.lengths[-1] > WIDEST_TOP:
            self.lengths.append(-(-self.lengths[-1] // FANOUT))
        padded = [*(-(-length // FANOUT) * FANOUT for length in self.lengths[:-1]), self.lengths[-1]]
        self.flat = [_zeros(length, device, torch.float64 if k else dtype) for k, length in enumerate(padded)]
        self.rows = [layer.view(-1, FANOUT) for layer in self.flat[:-1]]  # (rows, 32), the lowest layer first
        self.top = self.flat[-1]  # (<= 1024,)
        self.edges = torch.zeros(self.lengths[-1], device=device, dtype=torch.float64)  # running sums of `top`
        self.values = self.flat[0][:size]  # (N,) the leaves
        self.total = self.edges[-1]  # ()
        self.smallest, self.largest = LIMITS[dtype]
        self._below = math.nextafter(self.smallest, 0.0) if dtype is torch.float64 else 0.0  # the largest that is no leaf
        self.uniform_draws = torch.zeros((), dtype=torch.int64, device=device)
        self.repaired = torch.zeros((), dtype=torch.int64, device=device)

    def repair(self, values: Tensor) -> Tensor:
        """Values of any type as leaves may hold them; how many differ is added to `repaired`."""
        given = values.detach() if values.requires_grad else values
        if given.dtype is not self.values.dtype:
            given = given.to(self.values.dtype)
        kept = torch.threshold(given, self._below, 0.0).nan_to_num_(nan=0.0, posinf=self.largest)
        if kept.dtype is torch.float64:  # where finite numbers exceed the largest leaf
            kept.clamp_(max=self.largest)
        self.repaired.add_(torch.count_nonzero(kept != given))
        return kept


def _zeros(length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(length,) zeros; on Linux's CPU in huge pages as far as they fill any, for a random small page costs a walk of its own."""
    size = length * dtype.itemsize
    in_memory = device.type == "cpu" and type(torch.empty(0)) is Tensor  # a fake tensor has no pages
    if size < HUGE or not in_memory or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(length, device=device, dtype=dtype)
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    begin = -whole.data_ptr() % HUGE
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE, begin, size // HUGE * HUGE)
    return whole[begin : begin + size].view(dtype)
