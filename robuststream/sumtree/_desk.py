"""Room for the sum tree in torch to work in, taken once: what a step finds where it left it costs half of what it takes anew."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from robuststream.sumtree._layers import FANOUT, SHIFT, Layers

MOST_KEPT = 1 << 20
"""Entries of the largest layer whose running sums are kept: 8 MiB."""


class RunningSums:
    """The running sums of all rows of layer k, on the CPU; right from when they are added up until the layer changes."""

    def __init__(self, layers: Layers, k: int) -> None:
        self._rows = layers.rows[k]
        with torch.inference_mode(False):  # whoever comes first
            self._sums = torch.empty(self._rows.shape, dtype=torch.float64)
        self._totals = self._sums.select(1, FANOUT - 1)
        self.above = layers.flat[k + 1].narrow(0, 0, len(self._rows))
        """(rows,) the totals of the rows, in the layer above."""
        self._right = False

    @property
    def rows(self) -> Tensor:
        """(rows, 32), added up where the layer has changed."""
        if not self._right:
            _add_up(self._rows, self._sums)
            self._right = True
        return self._sums

    @property
    def flat(self) -> Tensor:
        """(rows * 32,) the same."""
        return self.rows.view(-1)

    def change(self) -> None:
        """The layer has changed."""
        self._right = False

    def renew(self) -> None:
        """The layer has changed, and the one above shall know."""
        _add_up(self._rows, self._sums)
        self._right = True
        self.above.copy_(self._totals)


def _add_up(rows: Tensor, sums: Tensor) -> None:
    """Running sums along each row: in place, for `cumsum` of another type takes memory of its own first."""
    if rows is not sums:
        sums.copy_(rows)
    sums.cumsum_(1)


class Desk:
    """Room to draw or update n, or to add up n rows. A part is taken when it is first asked for, with the views used of it."""

    def __init__(self, n: int, layers: Layers, kept: dict[int, RunningSums]) -> None:
        """`kept` is what desks of one tree have in common: the running sums of layers, added to where n makes them worth it."""
        self.n, self._device, self._height = n, layers.top.device, len(layers.rows)
        self._leaf_type, self._by_row = layers.values.dtype, self._device.type == "cpu"
        self.lower = sum(length > 2 * n + 512 for length in layers.lengths[1:])
        """So many layers have more rows than it pays to add up to draw n and to update n; from the others n are gathered."""
        for k in range(self.lower, self._height):
            if self._by_row and layers.lengths[k] <= MOST_KEPT and k not in kept:
                kept[k] = RunningSums(layers, k)
        self.kept = [kept.get(k) if k >= self.lower else None for k in range(self._height)]

    def add_up(self, rows: Tensor, which: Tensor) -> None:
        """The running sums of rows (N / 32, 32) at `which` (n,), into `sums`."""
        if not self._by_row:
            read = torch.index_select(rows, 0, which)
            torch.cumsum(read.t(), 0, dtype=torch.float64, out=self._added)
        elif rows.dtype is torch.float64:
            torch.index_select(rows, 0, which, out=self._added)
            _add_up(self._added, self._added)
        else:
            torch.index_select(rows, 0, which, out=self._narrow)
            _add_up(self._narrow, self._added)

    def read(self, sums: RunningSums, which: Tensor) -> None:
        """As `add_up`, where they are kept."""
        torch.index_select(sums.rows, 0, which, out=self._added)

    def choose(self, u: Tensor, at: Tensor) -> None:
        """Entries `at` (n,), whose rows were added up, become children: the first with whom the part u (n,) of it is reached."""
        torch.mul(u, self.totals, out=self.target)
        if self._by_row:
            torch.searchsorted(self._added, self._target_column, out=self._child_column)
        else:
            torch.sum(self._sums < self._target_column, 1, out=self.child)
        torch.add(self.child, at, alpha=FANOUT, out=at)

    def bisect(self, sums: Tensor, left: int) -> None:
        """`place` (n,) moves on to the first of the next `left` running sums that reaches the target, or to the last of them.

        Without branches, of which one in two would be guessed wrong.
        """
        while left > 1:
            half = left // 2
            torch.index_select(sums[half - 1 :], 0, self.place, out=self._probe)
            self.place.add_(torch.lt(self._probe, self.target, out=self._less), alpha=half)
            left -= half

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        with torch.inference_mode(False):  # whoever comes first
            return torch.empty(shape, dtype=dtype, device=self._device)

    @cached_property
    def fresh(self) -> Tensor:
        """(layers, n) uniform numbers in [0, 1)."""
        return self._empty(self._height + 1, self.n)

    @cached_property
    def first(self) -> Tensor:
        """(n,) those of the last layer."""
        return self.fresh[0]

    @cached_property
    def u(self) -> Tensor:
        """(layers, n) one minus those."""
        return self._empty(self._height + 1, self.n)

    @cached_property
    def u_of(self) -> tuple[Tensor, ...]:
        """(n,) each, of the lowest layer first."""
        return self.u.unbind(0)[::-1]

    @cached_property
    def _shifts(self) -> Tensor:
        return SHIFT * torch.arange(1, self.lower + 1, device=self._device)[:, None]

    @cached_property
    def _touched(self) -> Tensor:
        return self._empty(self.lower, self.n, dtype=torch.int64)

    @cached_property
    def _touched_of(self) -> tuple[Tensor, ...]:
        return self._touched.unbind(0)

    def touched(self, index: Tensor) -> tuple[Tensor, ...]:
        """(n,) each: the rows above leaves `index` (n,), in the layers that are gathered from, the lowest first."""
        if self.lower:
            torch.bitwise_right_shift(index, self._shifts, out=self._touched)
        return self._touched_of

    @cached_property
    def nothing(self) -> Tensor:
        """(n,) zeros of the leaves' type."""
        return self._empty(self.n, dtype=self._leaf_type).zero_()

    @cached_property
    def _narrow(self) -> Tensor:
        """(n, 32) rows of float32 as they are read."""
        return self._empty(self.n, FANOUT, dtype=torch.float32)

    @cached_property
    def _added(self) -> Tensor:
        """(n, 32) running sums of rows, or (32, n) where rows are laid out as columns."""
        return self._empty(self.n, FANOUT) if self._by_row else self._empty(FANOUT, self.n)

    @cached_property
    def _sums(self) -> Tensor:
        """(n, 32) the same, whichever way they lie."""
        return self._added if self._by_row else self._added.t()

    @cached_property
    def totals(self) -> Tensor:
        """(n,) the last of each row's running sums."""
        return self._sums.select(1, FANOUT - 1)

    @cached_property
    def target(self) -> Tensor:
        """(n,) what the running sums are searched for."""
        return self._empty(self.n)

    @cached_property
    def _target_column(self) -> Tensor:
        return self.target.unsqueeze(1)

    @cached_property
    def at(self) -> Tensor:
        """(n,) int64 entries that were drawn."""
        return self._empty(self.n, dtype=torch.int64)

    @cached_property
    def child(self) -> Tensor:
        """(n,) int64."""
        return self._empty(self.n, dtype=torch.int64)

    @cached_property
    def _child_column(self) -> Tensor:
        return self.child.unsqueeze(1)

    @cached_property
    def place(self) -> Tensor:
        """(n,) int32 where a bisection has come to: half the memory of int64 costs half the time."""
        return self._empty(self.n, dtype=torch.int32)

    @cached_property
    def _probe(self) -> Tensor:
        """(n,) running sums that a bisection looks at."""
        return self._empty(self.n)

    @cached_property
    def _less(self) -> Tensor:
        """(n,) int32, one where they lie below the target."""
        return self._empty(self.n, dtype=torch.int32)
