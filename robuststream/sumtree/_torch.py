"""The sum tree in torch operations of fixed shapes: any device, no wait for the host, the same code in a CUDA graph.

On the CPU the sum of a row is the last entry of `cumsum` along the row, added up from first to last. Elsewhere a scan along
the last dimension runs in parallel, in an order that depends on the shape; there rows are laid out as columns, each added up by
one thread, in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.sumtree._layers import FANOUT, SHIFT, Layers

MOST_DESKS = 4
"""How many sizes of mini-batch are kept room for at a time."""


class TorchWalk:
    """Draws from layers and keeps their sums right."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._by_row = layers.top.device.type == "cpu"
        self._at_once = 1024 if self._by_row else 1 << 20  # rows read in one operation: 256 KiB of float64, in a cache
        self._desks: dict[int, _Desk] = {}

    def draw(self, r: Tensor) -> Tensor:
        """(n,) int64 entries of layer 0, each by its own column of r (layers, n), uniform in [0, 1)."""
        u = (1.0 - r).unsqueeze(2)
        at = torch.empty(u.shape[1:], dtype=torch.int64, device=r.device)  # (n, 1)
        if len(at) <= self._at_once:
            self._descend(u, at)
        else:
            for part, place in zip(u.split(self._at_once, 1), at.split(self._at_once), strict=True):
                self._descend(part, place)
        return self._unless_empty(at.squeeze(1), r[0])

    def _descend(self, u: Tensor, at: Tensor) -> None:
        """As `draw`, by u (layers, n, 1) in (0, 1], into `at`: a target is never 0 nor beyond the total, no child of 0 is met."""
        layers, desk = self.layers, self._desk(len(at))
        top, *lower = u.unbind(0)
        torch.searchsorted(layers.edges, torch.mul(top, layers.total, out=desk.target), out=at)
        entry = at.squeeze(1)
        for rows, fresh in zip(reversed(layers.rows), lower, strict=True):
            self._add_up(rows, entry, desk)
            torch.mul(fresh, desk.last, out=desk.target)
            if self._by_row:
                torch.searchsorted(desk.sums, desk.target, out=desk.child)
            else:
                torch.sum(desk.sums < desk.target, 1, keepdim=True, out=desk.child)
            torch.add(desk.child, at, alpha=FANOUT, out=at)

    def _desk(self, n: int) -> _Desk:
        """Room to work on n rows, taken once: what a step finds where it left it costs half of what it takes anew."""
        desk = self._desks.get(n)
        if desk is None:
            if len(self._desks) >= MOST_DESKS:
                self._desks.clear()
            with torch.inference_mode(False):  # whoever comes first
                desk = self._desks[n] = _Desk(n, self.layers, self._by_row)
        return desk

    def _add_up(self, rows: Tensor, which: Tensor, desk: _Desk) -> None:
        """The running sums of rows (N / 32, 32) at `which` (n,), onto the desk."""
        read = torch.index_select(rows, 0, which, out=desk.read[rows.dtype])
        torch.cumsum(read if self._by_row else read.t(), desk.along, dtype=torch.float64, out=desk.added)

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
                desk = self._desk(len(row))
                self._add_up(rows, row, desk)
                layers.flat[k + 1].index_copy_(0, row, desk.totals)
        self._add_up_top()

    def rebuild(self) -> None:
        """Every sum anew from the leaves."""
        for k in range(len(self.layers.rows)):
            self._add_all_up(k)
        self._add_up_top()

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


class _Desk:
    """Room to add up n rows and to find a child in each."""

    def __init__(self, n: int, layers: Layers, by_row: bool) -> None:
        device = layers.top.device
        self.read = {rows.dtype: torch.empty(n, FANOUT, dtype=rows.dtype, device=device) for rows in layers.rows}
        shape, self.along = ((n, FANOUT), 1) if by_row else ((FANOUT, n), 0)
        self.added = torch.empty(shape, dtype=torch.float64, device=device)
        self.sums = self.added if by_row else self.added.t()  # (n, 32)
        self.last, self.totals = self.sums.narrow(1, FANOUT - 1, 1), self.sums.select(1, FANOUT - 1)  # (n, 1) and (n,)
        self.target = torch.empty(n, 1, dtype=torch.float64, device=device)
        self.child = torch.empty(n, 1, dtype=torch.int64, device=device)


def _depth(sums: Tensor, place: Tensor, child: Tensor, target: Tensor) -> Tensor:
    """(n,) how far into the entry at `place` of the running sums each target lies, in (0, 1]; child 0 begins at zero."""
    above = sums[place]
    below = torch.where(child > 0, sums[(place - 1).clamp_(min=0)], 0.0)
    return torch.where(above > below, (target - below) / (above - below), 1.0)  # an all-zero row has no inside
