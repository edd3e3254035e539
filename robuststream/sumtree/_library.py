"""The sum tree in C: finds the optional library beside this file and calls it on the addresses of the layers' tensors."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from robuststream import compiled
from robuststream.errors import UserError
from robuststream.sumtree._layers import WIDEST_TOP, Layers
from robuststream.sumtree._uniforms import Uniforms

VARIANTS = ("portable", "avx2", "avx512")
_MOST_LAYERS = 8


class _Tree(ctypes.Structure):
    """`tree` of native.c, field by field."""

    _fields_ = (
        ("variant", ctypes.c_int64),
        ("narrow", ctypes.c_int64),
        ("depth", ctypes.c_int64),
        ("length", ctypes.c_int64 * _MOST_LAYERS),
        ("layer", ctypes.c_void_p * _MOST_LAYERS),
        ("edges", ctypes.c_void_p),
        ("uniform_draws", ctypes.c_void_p),
        ("repaired", ctypes.c_void_p),
        ("smallest", ctypes.c_double),
        ("largest", ctypes.c_double),
    )


def load_library(folder: Path = Path(__file__).parent) -> ctypes.CDLL:
    """Raises UserError where there is none."""
    library = compiled.load(folder, "_native", "sum tree", "sumtree_layout", 3000 + ctypes.sizeof(_Tree))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.sumtree_draw.argtypes, library.sumtree_draw.restype = (pointer, number, pointer, pointer, pointer), None
    library.sumtree_update.argtypes, library.sumtree_update.restype = (pointer, number, pointer, pointer), number
    library.sumtree_uniform.argtypes, library.sumtree_uniform.restype = (pointer, number, pointer), None
    library.sumtree_rebuild.argtypes, library.sumtree_rebuild.restype = (pointer,), None
    return library


class NativeWalk:
    """Draws from layers in memory and keeps their sums right. `variant` is the best that this processor has, unless said."""

    def __init__(self, layers: Layers, variant: str | None = None) -> None:
        library = load_library()
        best = library.sumtree_variant()
        chosen = best if variant is None else VARIANTS.index(variant)
        if chosen > best:
            raise UserError(f"this processor does not run the {variant} variant of the native sum tree; best: {VARIANTS[best]}")
        self.variant = VARIANTS[chosen]
        self.dtype = layers.values.dtype
        self.layers = layers  # owns the memory that the addresses below point to
        self._tree = _Tree(
            variant=chosen,
            narrow=layers.values.dtype is torch.float32,
            depth=len(layers.flat),
            length=(ctypes.c_int64 * _MOST_LAYERS)(*layers.lengths),
            layer=(ctypes.c_void_p * _MOST_LAYERS)(*(layer.data_ptr() for layer in layers.flat)),
            edges=layers.edges.data_ptr(),
            uniform_draws=layers.uniform_draws.count.data_ptr(),
            repaired=layers.repaired.count.data_ptr(),
            smallest=layers.smallest,
            largest=layers.largest,
        )
        self._address = ctypes.addressof(self._tree)
        self._draw, self._update, self._rebuild = library.sumtree_draw, library.sumtree_update, library.sumtree_rebuild
        self.uniforms = Uniforms(library, len(layers.flat))
        self._make_room(WIDEST_TOP // 2)  # all other layers have more entries than twice that

    def draw(self, r: Tensor) -> Tensor:
        """(n,) int64 entries of layer 0, each by its own column of r (layers, n) float64, uniform in [0, 1)."""
        n = r.shape[1]
        if n > self._most:
            self._make_room(n)
        out = torch.empty(n, dtype=torch.int64)
        self._draw(self._address, n, r.data_ptr(), out.data_ptr(), self._room_address)
        return out

    def _make_room(self, n: int) -> None:
        """For the running sums of all layers that draws of up to n want them of."""
        entries = sum(
            rows.numel() for rows, length in zip(self.layers.rows, self.layers.lengths, strict=False) if length <= 2 * n
        )
        with torch.inference_mode(False):  # whoever is the first to draw so many
            self._room, self._most = torch.empty(entries, dtype=torch.float64), n
        self._room_address = self._room.data_ptr()

    def update(self, index: Tensor, values: Tensor) -> None:
        """Leaves `index` (n,) become `values` (n,), repaired by the rule of the tree; IndexError before any is written."""
        if not (index.is_cpu and values.is_cpu):  # an address on another device is not one here
            raise UserError(f"this sum tree is on the CPU; it was given an index on {index.device}, values on {values.device}")
        # A test costs a tenth of a conversion that has nothing to do, and this is called in every step.
        if index.dtype is not torch.int64 or not index.is_contiguous():
            index = index.to(torch.int64).contiguous()
        if values.dtype is not self.dtype or not values.is_contiguous():
            values = values.to(self.dtype).contiguous()
        wrong = self._update(self._address, index.numel(), index.data_ptr(), values.data_ptr())
        if wrong >= 0:
            raise IndexError(f"index {int(index[wrong])} at place {wrong} is not in 0..{self.layers.lengths[0] - 1}")

    def rebuild(self) -> None:
        """Every sum anew from the leaves."""
        self._rebuild(self._address)
