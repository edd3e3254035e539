"""Fetching in C: finds the optional library beside this file and calls it on the addresses of tensors."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from robuststream import compiled
from robuststream.contracts import Split
from robuststream.data.scale import Scale


class _Source(ctypes.Structure):
    """`source` of fetch.c, field by field."""

    _fields_ = (
        ("images", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("crop", ctypes.c_int64),
        ("reflect", ctypes.c_int64),
        ("planar", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("asking", ctypes.c_int64),
        ("read", ctypes.c_int64),
    )


@cache
def load_library(folder: Path = Path(__file__).parent) -> ctypes.CDLL:
    """Raises UserError where there is none."""
    library = compiled.load(folder, "_fetch", "fetch", "fetch_layout", 2000 + ctypes.sizeof(_Source))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.fetch_batch.argtypes = (pointer, number, pointer, pointer, pointer, number, pointer, pointer, pointer)
    library.fetch_batch.restype = number
    library.fetch_ahead.argtypes, library.fetch_ahead.restype = (pointer, number, pointer), None
    return library


class NativeFetch:
    """Examples of a split in memory by index, in one pass; as `Batches` does it without, to the bit."""

    def __init__(self, split: Split, images: Tensor, crop: int, reflect: bool, rows: Tensor | None = None) -> None:
        """`images` (N, H, W, C) uint8, in this order of memory; `rows` (N,) int64 says where each example's lies, None: in order.

        Raises UserError where there is no library.
        """
        self._call, self._ahead = load_library().fetch_batch, load_library().fetch_ahead
        self._kept = (images, rows)  # own the memory that the addresses below point to
        _, self.height, self.width, self.channels = images.shape
        self.labels = split.labels.contiguous()
        sizes = (len(self.labels), self.channels, self.height, self.width, crop, reflect)
        where = 0 if rows is None else rows.data_ptr()
        self._sources = {planar: _Source(images.data_ptr(), *sizes, planar, where, 0, -1) for planar in (False, True)}
        self._addresses = {planar: ctypes.addressof(source) for planar, source in self._sources.items()}
        self._tables: dict[Scale, Tensor] = {}  # (C, 256), one per network that is fed from here

    def ahead(self, index: Tensor) -> None:
        """Have the system begin to read what (n,) examples lie on, where `images` is a file in memory; waits for nothing.

        After 64 mini-batches for which nothing had to be read from disk it does nothing, until something has.
        """
        index = _as_read(index)
        self._ahead(self._addresses[False], index.shape[0], index.data_ptr())

    def fetch(self, index: Tensor, drawn: Tensor | None, scale: Scale) -> tuple[Tensor, Tensor]:
        """(n,) indices and (3, n) int64 rows down, columns across, mirrored -> (n, C, H, W) of the scale's type and (n,) labels.

        IndexError names an index outside 0..N-1, before anything is written.
        """
        table = self._tables.get(scale)
        if table is None:
            table = self._tables[scale] = scale.table.expand(self.channels, 256).contiguous()
        index = _as_read(index)
        n, planar = index.shape[0], scale.planar or self.channels == 1
        shape = (self.channels, self.height, self.width) if planar else (self.height, self.width, self.channels)
        images, labels = torch.empty((n, *shape), dtype=scale.dtype), torch.empty_like(index)
        wrong = self._call(
            self._addresses[planar],
            n,
            index.data_ptr(),
            None if drawn is None else drawn.data_ptr(),
            table.data_ptr(),
            table.element_size(),
            images.data_ptr(),
            self.labels.data_ptr(),
            labels.data_ptr(),
        )
        if wrong >= 0:
            raise IndexError(f"index {int(index[wrong])} at place {wrong} is not in 0..{len(self.labels) - 1}")
        return images if planar else images.permute(0, 3, 1, 2), labels


def _as_read(index: Tensor) -> Tensor:
    """(n,) as the library reads it."""
    return index if index.dtype is torch.int64 and index.is_contiguous() else index.to(torch.int64).contiguous()
