"""Plain tables of one entry per example, for methods that look at all of them once an epoch."""

from __future__ import annotations

from torch import Tensor


def write_largest(table: Tensor, index: Tensor, values: Tensor) -> None:
    """`table[index] = values` in place; where an index repeats, the largest value wins, in any order and on every device."""
    table.scatter_reduce_(0, index, values.to(table.dtype), "amax", include_self=False)
