"""One non-negative value per example: drawn in proportion to, and written where a mini-batch was seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def write_largest(table: Tensor, index: Tensor, values: Tensor) -> None:
    """`table[index] = values` in place; where an index repeats, the largest value wins, in any order and on every device."""
    table.scatter_reduce_(0, index, values.to(table.dtype), "amax", include_self=False)


class Values:
    """(N,) float64 values. Draws are independent, with replacement, with probability value / total.

    float64 because sums of float32 lose the light end of a large pool. If all values are zero the draw is uniform, and counted.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.table = torch.ones(size, dtype=torch.float64, device=device)
        self.uniform_fallbacks = torch.zeros((), dtype=torch.int64, device=device)
        self._even = torch.arange(1, size + 1, dtype=torch.float64, device=device)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) int64 indices by inverse CDF: the first i whose cumulative value exceeds u * total, u = rand(n) in float64."""
        sums = self.table.cumsum(0)
        empty = sums[-1] <= 0
        self.uniform_fallbacks += empty
        sums = torch.where(empty, self._even, sums)
        u = torch.rand(n, generator=generator, dtype=torch.float64, device=sums.device) * sums[-1]
        # u * total may round up to total itself, beyond the last example that has a value
        u = torch.minimum(u, torch.nextafter(sums[-1], torch.zeros_like(sums[-1])))
        return torch.searchsorted(sums, u, right=True)

    def write(self, index: Tensor, values: Tensor) -> None:
        """Store (m,) values; not-a-number and negative count as zero, and the largest of a repeated index wins."""
        write_largest(self.table, index, values.double().nan_to_num(nan=0.0).clamp(min=0.0))

    def normalise(self) -> None:
        """Scale all N values to sum 1; all-zero stays as it is."""
        total = self.table.sum()
        self.table /= torch.where(total > 0, total, torch.ones_like(total))

    def probability(self) -> Tensor:
        """(N,) the probability of each example at the next draw."""
        total = self.table.sum()
        return torch.where(total > 0, self.table / total, torch.full_like(self.table, 1.0 / len(self.table)))

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.table.clone(), "uniform_fallbacks": self.uniform_fallbacks.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.table.copy_(state["table"])
        self.uniform_fallbacks.copy_(state["uniform_fallbacks"])
