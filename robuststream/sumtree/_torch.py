"""The sum tree in torch operations of fixed shapes: any device, no wait for the host, the same code in a CUDA graph.

On the CPU the sum of a row is the last entry of `cumsum` along the row, added up from first to last. Elsewhere a scan along
the last dimension runs in parallel, in an order that depends on the shape; there rows are laid out as columns, each added up by
one thread, in order.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from robuststream.sumtree._desk import Desk, RunningSums
from robuststream.sumtree._layers import FANOUT, Layers

MOST_DESKS = 8
"""How many sizes of mini-batch or block are kept room for at a time."""
AT_ONCE = 1024
"""Rows gathered and added up in one operation on the CPU: 256 KiB of float64, in a cache. A draw of more bisects."""
BLOCK = 1 << 16
"""Draws in one operation otherwise."""


class TorchWalk:
    """Draws from layers and keeps their sums right.

    On the CPU the running sums of a layer that has few rows beside n are taken whole and kept from an update to the next draw.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        device = layers.top.device
        self._by_row = device.type == "cpu"
        self._at_once = AT_ONCE if self._by_row else 1 << 20
        self._desks: dict[int, Desk] = {}
        self._kept: dict[int, RunningSums] = {}
        self._one = torch.ones((), dtype=torch.float64, device=device)
        self._size = torch.full((), layers.lengths[0], dtype=torch.float64, device=device)

    def uniforms(self, n: int, generator: torch.Generator) -> Tensor:
        """(layers, n) float64 in [0, 1), as `torch.rand` makes them; the next call may write over them."""
        return self._desk(n).fresh.uniform_(generator=generator)

    def draw(self, r: Tensor) -> Tensor:
        """(n,) int64 entries of layer 0, each by its own column of r (layers, n), uniform in [0, 1)."""
        desk = self._desk(r.shape[1])
        if desk.n <= self._at_once:
            self._descend(r, desk.at, desk)
        else:
            size = BLOCK if self._by_row else self._at_once
            for part, place in zip(r.split(size, 1), desk.at.split(size), strict=True):
                self._descend(part, place, self._desk(len(place)))
        return self._unless_empty(desk.at, desk.first if r is desk.fresh else r[0], desk)

    def _descend(self, r: Tensor, at: Tensor, desk: Desk) -> None:
        """As `draw`, into `at`: by 1 - r in (0, 1], so that a target is never 0 nor beyond the total and no child of 0 is met."""
        layers, left = self.layers, len(desk.kept)
        torch.sub(self._one, r, out=desk.u)
        torch.mul(desk.u_of[left], layers.total, out=desk.target)
        if self._by_row and desk.n > AT_ONCE:
            left = self._bisect(at, desk)
        else:
            torch.searchsorted(layers.edges, desk.target, out=at)
        for k in range(left - 1, -1, -1):
            kept, rows, u = desk.kept[k], layers.rows[k], desk.u_of[k]
            if kept:
                desk.read(kept, at)
                desk.choose(u, at)
            else:
                for part, place in self._few(u, at):
                    few = self._desk(len(place))
                    few.add_up(rows, place)
                    few.choose(part, place)

    def _bisect(self, at: Tensor, desk: Desk) -> int:
        """As `_descend`, by five comparisons a layer instead of 32 running sums for each draw; the last layer it came to."""
        layers, place, k = self.layers, desk.place.zero_(), len(desk.kept)
        desk.bisect(layers.edges, len(layers.edges))
        while k > 0 and (kept := desk.kept[k - 1]):
            k -= 1
            torch.index_select(kept.above, 0, place, out=desk.target).mul_(desk.u_of[k])
            place.mul_(FANOUT)
            desk.bisect(kept.flat, FANOUT)
        at.copy_(place)
        return k

    def _desk(self, n: int) -> Desk:
        desk = self._desks.get(n)
        if desk is None:
            if len(self._desks) >= MOST_DESKS:
                self._desks.clear()
            desk = self._desks[n] = Desk(n, self.layers, self._kept)
        return desk

    def _few(self, *all_of: Tensor) -> Iterable[tuple[Tensor, ...]]:
        """These tensors (n,), as many at a time as are gathered in one operation."""
        if len(all_of[0]) <= self._at_once:
            return (all_of,)
        return zip(*(each.split(self._at_once) for each in all_of), strict=True)

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
        return self._unless_empty(at, r, self._desk(n))

    def write(self, index: Tensor, kept: Tensor) -> None:
        """Leaves `index` (n,) become `kept` (n,), the largest where one repeats; sums above them are taken anew."""
        layers, desk = self.layers, self._desk(len(index))
        layers.values.index_copy_(0, index, desk.nothing).scatter_reduce_(0, index, kept, "amax")  # repeats in any order
        for k, which in enumerate(desk.touched(index)):
            if k in self._kept:
                self._kept[k].change()
            for (part,) in self._few(which):
                few = self._desk(len(part))
                few.add_up(layers.rows[k], part)
                layers.flat[k + 1].index_copy_(0, part, few.totals)
        for k in range(desk.lower, len(desk.kept)):
            sums = desk.kept[k]
            if sums:
                sums.renew()
            else:
                self._add_all_up(k)
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
        if k in self._kept:
            self._kept[k].change()
        for rows, sums in zip(layers.rows[k].split(self._at_once), layers.flat[k + 1].split(self._at_once), strict=False):
            sums.narrow(0, 0, len(rows)).copy_(self._totals(rows))  # the last may have padding

    def _add_up_top(self) -> None:
        layers = self.layers
        torch.cumsum(layers.top, 0, dtype=torch.float64, out=layers.edges)
        if not self._by_row:  # a parallel scan may round an entry of zero past its neighbour, and then it could be drawn
            layers.edges.copy_(torch.where(layers.top > 0, layers.edges, 0.0).cummax(0).values)

    def _unless_empty(self, at: Tensor, r: Tensor, desk: Desk) -> Tensor:
        """Where all values are zero, indices drawn uniformly by r (n,) in the stead of `at`, and counted."""
        empty = torch.logical_not(self.layers.total_alone)
        self.layers.uniform_draws.add(empty)
        desk.child.copy_(torch.mul(r, self._size, out=desk.target))
        return torch.where(empty, desk.child, at)


def _depth(sums: Tensor, place: Tensor, child: Tensor, target: Tensor) -> Tensor:
    """(n,) how far into the entry at `place` of the running sums each target lies, in (0, 1]; child 0 begins at zero."""
    above = sums[place]
    below = torch.where(child > 0, sums[(place - 1).clamp_(min=0)], 0.0)
    return torch.where(above > below, (target - below) / (above - below), 1.0)  # an all-zero row has no inside
