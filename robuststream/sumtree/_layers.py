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


class Tally:
    """Counts what is true in masks.

    On the CPU many masks at a time: two operations less in a training step, a seventh of what the tree in torch costs there.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        """() int64, without the masks that wait; the native form counts here."""
        self._most = 64 if device.type == "cpu" else 1  # a CUDA graph does not come by here when it is replayed
        self._waiting: list[Tensor] = []

    def add(self, mask: Tensor) -> None:
        """Count `mask` (n,), now or later."""
        self._waiting.append(mask)
        if len(self._waiting) >= self._most or len(mask) > 1024:
            self.settled()

    def settled(self) -> Tensor:
        """() int64, all that was counted."""
        if self._waiting:
            masks = self._waiting[0] if len(self._waiting) == 1 else torch.cat(self._waiting)
            self._waiting.clear()
            self.count.add_(torch.count_nonzero(masks))
        return self.count


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
        self.total_alone = self.edges[-1:]  # (1,)
        self.smallest, self.largest = LIMITS[dtype]
        self._below = math.nextafter(self.smallest, 0.0) if dtype is torch.float64 else 0.0  # the largest that is no leaf
        self.uniform_draws, self.repaired = Tally(device), Tally(device)

    def repair(self, values: Tensor) -> Tensor:
        """Values (n,) of any type as leaves may hold them; how many differ is counted in `repaired`."""
        given = values.detach() if values.requires_grad else values
        if given.dtype is not self.values.dtype:
            given = given.to(self.values.dtype)
        kept = torch.threshold(given, self._below, 0.0).nan_to_num_(nan=0.0, posinf=self.largest)
        if kept.dtype is torch.float64:  # where finite numbers exceed the largest leaf
            kept.clamp_(max=self.largest)
        self.repaired.add(kept != given)
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
