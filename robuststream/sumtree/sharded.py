"""A sum tree in slices, one per process: together they draw as one tree would."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from robuststream.sumtree.tree import SumTree


class ShardedDraws:
    """Mini-batches from W processes of `torch.distributed`, each holding the values of its own slice of the pool.

    A step costs one all-reduce of W float64 totals. The n draws are shared out by a multinomial over the totals, from a
    generator that all processes hold in the same state, and each process draws its quota from its slice: together, n independent
    draws from one tree of all values. Quotas differ between steps and processes, so a mean over the mini-batch is the sum over
    all processes divided by n, not a mean of their means. Updates are local and need no message.
    """

    def __init__(self, tree: SumTree, shared: torch.Generator, group: dist.ProcessGroup | None = None) -> None:
        """`tree` is this process's slice; `shared` a CPU generator, in the same state everywhere and used for nothing else."""
        self.tree = tree
        self._shared = shared
        self._group = group
        self._sizes = self._gather(torch.tensor(float(tree.size), dtype=torch.float64, device=tree.device))
        self._totals = self._gather(tree.total)
        self.first = int(self._sizes[: dist.get_rank(group)].sum())
        """Index in the whole pool of this slice's example 0."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(quota,) int64 indices into this slice; the quotas of all processes sum to n. All processes must call it.

        `generator` is this process's own, on the tree's device, seeded unlike the others'. If all values of all slices are zero
        the draw is uniform. The quota is a shape, so on an accelerator the host waits for the totals.
        """
        self._totals = self._gather(self.tree.total)
        shares = self._totals if self._totals.sum() > 0 else self._sizes
        ends = shares.cumsum(0)
        u = 1.0 - torch.rand(n, generator=self._shared, dtype=torch.float64)  # in (0, 1]: a slice of zero is never chosen
        quota = int((torch.searchsorted(ends, u * ends[-1]) == dist.get_rank(self._group)).sum())
        return self.tree.draw(quota, generator)

    def probability(self, index: Tensor) -> Tensor:
        """(m,) float64: the probability that these examples of this slice had at the last draw, if not updated since."""
        total = self._totals.sum()
        if total > 0:
            return self.tree.values.index_select(0, index).double() / total.to(self.tree.device)
        return torch.full_like(index, 1.0, dtype=torch.float64) / self._sizes.sum().to(self.tree.device)

    def _gather(self, number: Tensor) -> Tensor:
        """(W,) float64 on the host: this number () of every process."""
        numbers = torch.zeros(dist.get_world_size(self._group), dtype=torch.float64, device=number.device)
        numbers[dist.get_rank(self._group)] = number
        dist.all_reduce(numbers, group=self._group)
        return numbers.cpu()
