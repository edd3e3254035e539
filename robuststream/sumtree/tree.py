"""N values, drawn in proportion to and updated where they were seen, through whichever backend is at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robuststream.errors import UserError
from robuststream.sumtree._distinct import draw_distinct
from robuststream.sumtree._layers import LIMITS, Layers
from robuststream.sumtree._library import NativeWalk
from robuststream.sumtree._torch import TorchWalk

BACKENDS = ("auto", "native", "torch")


class SumTree:
    """N non-negative values in a 32-ary tree of sums: drawn in proportion to, updated where seen. Cost grows with log N.

    Leaves are float32 (4.26 bytes per example in all) or float64 (8.26), sums float64. Each layer takes a fresh float64 uniform
    of the run's generator, so that every example stays reachable at any N. Zero is never drawn while another value is positive.
    On the CPU both backends hold the same bits and draw the same indices from the same generator state.

    What is stored is repaired: not-a-number and negative count as zero, and what exceeds the largest leaf (float32: the largest
    finite; float64: 2^512) as that; a float64 leaf below 2^-512 counts as zero. A value is rounded to the leaves' type first.
    """

    def __init__(
        self,
        size: int,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
        backend: str = "auto",
        fill: float = 1.0,
    ) -> None:
        """All N = `size` values are `fill`. UserError: a size, dtype or backend that cannot be had, with the reason."""
        if size < 1 or dtype not in LIMITS:
            raise UserError(f"SumTree: size={size!r}, dtype={dtype} is not possible (size >= 1; float32 or float64)")
        self.size = size
        self.device = torch.device(device)
        self._layers = Layers(size, self.device, dtype)
        self._walk = TorchWalk(self._layers)
        self._native = _native(backend, self._layers)
        self.backend = "native" if self._native else "torch"
        """Which backend draws and updates: "native" or "torch"."""
        self.variant = self._native.variant if self._native else ""
        """What the native backend was compiled for: "avx512", "avx2" or "portable"; "" with torch."""
        self._layers.values.copy_(self._layers.repair(torch.full((1,), fill, dtype=torch.float64, device=self.device)))
        self.rebuild()

    @property
    def values(self) -> Tensor:
        """(N,) the leaves themselves: read them, write by `update`."""
        return self._layers.values

    @property
    def total(self) -> Tensor:
        """() float64, the sum of all values; it follows updates."""
        return self._layers.total

    @property
    def uniform_draws(self) -> Tensor:
        """() int64 on the device: calls that found every value zero and drew uniformly."""
        return self._layers.uniform_draws.settled()

    @property
    def repaired(self) -> Tensor:
        """() int64 on the device: values that were stored otherwise than given."""
        return self._layers.repaired.settled()

    def draw(self, n: int, generator: torch.Generator, *, stratified: bool = False) -> Tensor:
        """(n,) int64, independent draws with replacement, index i with probability value / total; uniform where the total is 0.

        `stratified`: draw k comes from the k-th of n equal parts of the running sum, in index order, so that index i is drawn
        less than two times more or less often than n * probability; in torch operations on every backend.
        """
        if stratified:
            r = torch.rand(n, generator=generator, dtype=torch.float64, device=self.device)
            return self._walk.draw_stratified(r)
        walk = self._native or self._walk
        return walk.draw(walk.uniforms(n, generator))

    def draw_distinct(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) int64 different indices, in the order of n successive draws, each in proportion among those left.

        Where only zeros are left, uniform among them. In torch operations on every backend. UserError if n exceeds N.
        """
        if n > self.size:
            raise UserError(f"SumTree: cannot draw {n} different examples of {self.size}")
        return draw_distinct(self._layers, n, generator)

    def probability(self, index: Tensor | None = None) -> Tensor:
        """(N,) or, of an `index` (n,), (n,) float64: the probability of each at the next draw with replacement."""
        values = self.values if index is None else self.values.index_select(0, index)
        total = self.total
        return torch.where(total > 0, values.double() / total, 1.0 / self.size)

    def update(self, index: Tensor, values: Tensor) -> None:
        """Store `values` (n,) at `index` (n,) int64, repaired; the largest of a repeated index wins, on every backend.

        Sums above them are taken anew from their children, never incremented: they always equal a rebuild, bit for bit.
        An index outside 0..N-1 is an IndexError (native, before anything is written) or torch's own error (the tree is then
        spoilt); UserError where the shapes differ.
        """
        if index.shape != values.shape or index.dim() != 1:
            raise UserError(f"SumTree: index {tuple(index.shape)} and values {tuple(values.shape)} must have one same dimension")
        if self._native:
            self._native.update(index, values)
        else:
            self._walk.write(index, self._layers.repair(values))

    def scale(self, factor: Tensor | float) -> None:
        """Multiply all values by a number or () tensor, repaired, and take all sums anew; O(N)."""
        self._layers.values.copy_(self._layers.repair(self._layers.values * factor))
        self.rebuild()

    def rebuild(self) -> None:
        """Take all sums anew from the values; O(N). Nothing changes unless `values` were written to by hand."""
        (self._native or self._walk).rebuild()

    def state_dict(self) -> dict[str, Any]:
        """The values and the counters; sums follow from them."""
        return {name: getattr(self, name).clone() for name in ("values", "uniform_draws", "repaired")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse, on a tree of the same size; on any backend or device."""
        if len(state["values"]) != self.size:
            raise UserError(f"SumTree: a state of {len(state['values'])} values does not fit a tree of {self.size}")
        for name in ("values", "uniform_draws", "repaired"):
            getattr(self, name).copy_(state[name])
        self.rebuild()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made from the state: a copy of the native backend's addresses would write to this tree."""
        return _restore, (self.size, self.device, self.values.dtype, self.backend, self.state_dict())


def _restore(size: int, device: torch.device, dtype: torch.dtype, backend: str, state: dict[str, Any]) -> SumTree:
    tree = SumTree(size, device, dtype=dtype, backend=backend)
    tree.load_state_dict(state)
    return tree


def _native(backend: str, layers: Layers) -> NativeWalk | None:
    """The native backend, or None for torch."""
    if backend not in BACKENDS:
        raise UserError(f"SumTree: backend={backend!r} is not possible (allowed: {' | '.join(BACKENDS)})")
    in_memory = layers.top.device.type == "cpu" and type(layers.top) is Tensor  # a fake tensor has no address
    if backend == "torch" or (backend == "auto" and not in_memory):
        return None
    if not in_memory:
        raise UserError(f"SumTree: backend='native' works on the CPU alone, not on {layers.top.device}; use 'torch'")
    try:
        return NativeWalk(layers)
    except UserError:
        if backend == "native":
            raise
        return None
