"""The sum tree in torch operations of fixed shapes: any device, no wait for the host, the same code in a CUDA graph.

On the CPU the sum of a row is the last entry of `cumsum` along the row, added up from first to last. Elsewhere a scan along
the last dimension runs in parallel, in an order that depends on the shape; there rows are laid out as columns, each added up by
one thread, in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.sumtree._layers import FANOUT, SHIFT, Layers


class TorchWalk:
    """Draws from layers and keeps their sums right."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._by_row = layers.top.device.type == "cpu"
        self._at_once = 1024 if self._by_row else 1 << 20  # rows read in one operation: 256 KiB of float64, in a cache

    def draw(self, r: Tensor) -> Tensor:
        """(n,) int64 entries of layer 0, each by its own column of r (layers, n), uniform in [0, 1)."""
        u = 1.0 - r
        if r.shape[1] <= self._at_once:
            return self._unless_empty(self._descend(u), r[0])
        return self._unless_empty(torch.cat([self._descend(part) for part in u.split(self._at_once, 1)]), r[0])

    def _descend(self, u: Tensor) -> Tensor:
        """As `draw`, by u in (0, 1]: a target is never 0 and never beyond the total, so a child of zero is never met."""
        layers = self.layers
        top, *lower = u.unsqueeze(2).unbind(0)
        at = torch.searchsorted(layers.edges, top.squeeze(1) * layers.total)
        for rows, fresh in zip(reversed(layers.rows), lower, strict=True):
            at = torch.add(self._child(rows.index_select(0, at), fresh), at, alpha=FANOUT)
        return at

    def draw_stratified(self, r: Tensor) -> Tensor:
        """As `draw`, but draw i lies in the i-th of n equal parts of the running sum; r is (n,)."""
        layers, n = self.layers, len(r)
        u = (torch.arange(n, dtype=r.dtype, device=r.device) + (1.0 - r)) / n
        target = u * layers.total
        at = torch.searchsorted(layers.edges, target)
        u = _depth(layers.edges, at, at, target)
        each = torch.arange(n, device=r.device) * FANOUT
        for rows in reversed(layers.rows):
            sums = self._running(rows.index_select(0, at)).contiguous()
            target = u * sums[:, -1]
            below = torch.searchsorted(sums, target[:, None]).squeeze(1)
            u = _depth(sums.view(-1), each + below, below, target)
            at = torch.add(below, at, alpha=FANOUT)
        return self._unless_empty(at, r)

    def write(self, index: Tensor, kept: Tensor) -> None:
        """Leaves `index` (n,) become `kept` (n,), the largest where one repeats; sums above them are taken anew."""
        layers = self.layers
        layers.values.scatter_reduce_(0, index, kept, "amax", include_self=False)
        for k, rows in enumerate(layers.rows):
            if len(rows) <= len(index):
                self._add_all_up(k)
                continue
            touched = index >> SHIFT * (k + 1)
            for row in (touched,) if len(touched) <= self._at_once else touched.split(self._at_once):
                layers.flat[k + 1].index_copy_(0, row, self._totals(rows.index_select(0, row)))
        self._add_up_top()

    def rebuild(self) -> None:
        """Every sum anew from the leaves."""
        for k in range(len(self.layers.rows)):
            self._add_all_up(k)
        self._add_up_top()

    def _child(self, rows: Tensor, u: Tensor) -> Tensor:
        """(n,) the first child of each row (n, 32) whose running sum reaches u (n, 1) of the row's total."""
        if self._by_row:
            sums = rows.cumsum(1, dtype=torch.float64)
            return torch.searchsorted(sums, u * sums.narrow(1, FANOUT - 1, 1)).squeeze(1)
        sums = rows.t().cumsum(0, dtype=torch.float64)
        return (sums < u.squeeze(1) * sums[-1]).sum(0)

    def _running(self, rows: Tensor) -> Tensor:
        """(n, 32) running sums of each row."""
        return rows.cumsum(1, dtype=torch.float64) if self._by_row else rows.t().cumsum(0, dtype=torch.float64).t()

    def _totals(self, rows: Tensor) -> Tensor:
        """(n,) the total of each row."""
        return self._running(rows).select(1, FANOUT - 1)

    def _add_all_up(self, k: int) -> None:
        layers = self.layers
        for rows, sums in zip(layers.rows[k].split(self._at_once), layers.flat[k + 1].split(self._at_once), strict=False):
            sums.narrow(0, 0, len(rows)).copy_(self._totals(rows))  # the last may have padding

    def _add_up_top(self) -> None:
        layers = self.layers
        torch.cumsum(layers.top, 0, dtype=torch.float64, out=layers.edges)
        if not self._by_row:  # a parallel scan may round an entry of zero past its neighbour, and then it could be drawn
            layers.edges.copy_(torch.where(layers.top > 0, layers.edges, 0.0).cummax(0).values)

    def _unless_empty(self, at: Tensor, r: Tensor) -> Tensor:
        """Where all values are zero, indices drawn uniformly by r (n,) in their stead, and counted."""
        layers = self.layers
        empty = layers.total <= 0
        layers.uniform_draws.add_(empty)
        return torch.where(empty, (r * layers.lengths[0]).to(torch.int64), at)


def _depth(sums: Tensor, place: Tensor, child: Tensor, target: Tensor) -> Tensor:
    """(n,) how far into the entry at `place` of the running sums each target lies, in (0, 1]; child 0 begins at zero."""
    above = sums[place]
    below = torch.where(child > 0, sums[(place - 1).clamp_(min=0)], 0.0)
    return torch.where(above > below, (target - below) / (above - below), 1.0)  # an all-zero row has no inside
