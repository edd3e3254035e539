"""Training images that stay on disk: mapped arrays and folders of images, read in threads ahead of their step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload

from robuststream.config import Augment
from robuststream.contracts import Split, Stored
from robuststream.data import _native, folder
from robuststream.data.batches import Augmented, Batches
from robuststream.data.scale import UNIT, Scale
from robuststream.dispatch import Watching
from robuststream.errors import UserError

READERS = 4
"""Threads. Reading, decompressing and decoding release Python's lock, and nothing has to be copied between processes."""


@dataclass(frozen=True)
class Mapped:
    """An array in a file; the system keeps in memory what it has room for."""

    array: np.ndarray  # (N, H, W, C) uint8, a memory map

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape[1:]

    def read(self, rows: Tensor) -> Tensor:
        taken = self.array.reshape(len(self.array), -1).take(rows.numpy(), axis=0)
        return torch.from_numpy(taken.reshape(-1, *self.shape))


@dataclass(frozen=True)
class Listed:
    """Files of images, decoded whenever they are wanted."""

    paths: Sequence[Path]
    shape: tuple[int, int, int]  # (H, W, C)

    def read(self, rows: Tensor) -> Tensor:
        images = np.empty((len(rows), *self.shape), dtype=np.uint8)
        for place, row in enumerate(rows.tolist()):
            image = folder.read_image(self.paths[row])
            if image.shape != self.shape:
                size, first = (" x ".join(map(str, shape)) for shape in (image.shape, self.shape))
                raise UserError(f"{self.paths[row]} is {size}, the first image is {first}; all must be of one size")
            images[place] = image
        return torch.from_numpy(images)


class Unseen(Watching):
    """While it is entered, whoever reads or changes images that stay on disk gets a UserError: what stands for them in a split
    holds none, and changes of it would be lost without a word. To choose among them is possible."""

    _CHOOSES = (torch.ops.aten.index.Tensor, torch.ops.aten.index_select.default)

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if any(isinstance(each, Tensor) and each.is_meta for each in args) and not (func.is_view or func in self._CHOOSES):
            raise UserError(f"{self.who} looks at training images or changes them; with recipe.stored=true they stay on disk")
        return func(*args, **(kwargs or {}))


class StoredBatches:
    """As `Batches`, of a split whose images are on disk: `ahead` begins to read a mini-batch, `fetch` waits for its end."""

    def __init__(self, split: Split, *, native: bool = True, **augmented: Unpack[Augmented]) -> None:
        assert split.stored is not None
        self.split, self.labels, self.num_classes, self._stored = split, split.labels, split.num_classes, split.stored
        self.native, self._augmented = native, augmented
        self.example_size = prod(split.images.shape[1:])  # bytes
        self.turned: Tensor | None = None  # flips do not alternate here
        self._readers = ThreadPoolExecutor(READERS, "robuststream-reader")
        self._reading: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()

    def ahead(self, index: Tensor) -> None:
        """Begin to read (n,) examples. Whoever asks for several fetches them in the same order."""
        read, rows = self._read, self.split.rows[index]
        if rows.is_cuda:
            rows, read = self._following(rows)
        self._reading.append((index, [self._readers.submit(read, part) for part in rows.chunk(READERS)]))

    def _following(self, rows: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Rows that are on their way from the device, and how to read them: what drew them stands behind the last step, and the
        readers wait for it so that nobody else has to."""
        here, there = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True), torch.cuda.Event()
        here.copy_(rows, non_blocking=True)
        there.record()

        def read(part: Tensor) -> Tensor:
            there.synchronize()
            return self._read(part)

        return here, read

    def fetch(self, index: Tensor, scale: Scale = UNIT) -> tuple[Tensor, Tensor]:
        """See `Batches.fetch`."""
        if self._reading and self._reading[0][0] is index:
            parts = [part.result() for part in self._reading.popleft()[1]]
        else:
            parts = [self._read(self.split.rows[index].cpu())]
        return self._resident(parts, index, **self._augmented).fetch(torch.arange(len(index), device=index.device), scale)

    def plain(self, index: Tensor, scale: Scale = UNIT) -> tuple[Tensor, Tensor]:
        """As `fetch`, without augmentation."""
        rows = self.split.rows[index].cpu()
        parts = list(self._readers.map(self._read, rows.chunk(READERS)))
        return self._resident(parts, index).plain(torch.arange(len(index), device=index.device), scale)

    def _read(self, rows: Tensor) -> Tensor:
        images = self._stored.read(rows)
        return images.pin_memory() if self.labels.is_cuda else images

    def _resident(self, parts: list[Tensor], index: Tensor, **augmented: Unpack[Augmented]) -> Batches:
        """The examples that were read, as a small pool in memory."""
        images = torch.cat([part.to(self.labels.device, non_blocking=True) for part in parts]).permute(0, 3, 1, 2)
        small = replace(self.split, images=images, labels=self.labels[index], rows=self.split.rows[index], stored=None)
        return Batches(small, native=self.native, **augmented)


class MappedBatches(Batches):
    """As `Batches`, of a file in memory, for a CPU: the pass in C goes over it as over memory.

    What is drawn ahead the system reads meanwhile, without a thread of ours: to hand one a mini-batch costs more than to copy it.
    """

    def __init__(self, split: Split, **augmented: Unpack[Augmented]) -> None:
        """Of a split for which this is `possible`."""
        assert isinstance(split.stored, Mapped)
        whole = replace(split, images=torch.from_numpy(split.stored.array).permute(0, 3, 1, 2), stored=None)
        super().__init__(whole, rows=split.rows, **augmented)

    @staticmethod
    def possible(split: Split) -> bool:
        """Whether C is at hand, and all images lie in a mapped file as it reads them; it does not look where rows lead."""
        stored = split.stored
        if not isinstance(stored, Mapped) or not stored.array.flags.c_contiguous or not split.labels.is_cpu:
            return False
        try:
            _native.load_library()
        except UserError:
            return False
        return bool(((split.rows >= 0) & (split.rows < len(stored.array))).all())

    def ahead(self, index: Tensor) -> None:
        """Have (n,) examples read."""
        assert self._native is not None
        self._native.ahead(index)

    def plain(self, index: Tensor, scale: Scale = UNIT) -> tuple[Tensor, Tensor]:
        """See `Batches.plain`: what nobody drew ahead is asked for all at once."""
        self.ahead(index)
        return self._whole(index, scale)


AnyBatches = Batches | StoredBatches


def batches_of(split: Split, augment: Augment, generator: torch.Generator) -> AnyBatches:
    """Of images in memory or on disk. Raises UserError for what is not offered there."""
    reflect = augment.border == "reflect"
    augmented = Augmented(crop=augment.crop, reflect=reflect, flip=augment.flip, generator=generator)
    if split.stored is None:
        return Batches(split, alternate=augment.alternate, **augmented)
    if augment.alternate:
        raise UserError("recipe.augment.alternate=true is not possible with stored=true (flips alternate in memory only)")
    kind = MappedBatches if MappedBatches.possible(split) else StoredBatches
    return kind(split, **augmented)


def open_stored(path: Path) -> tuple[Stored, dict[str, np.ndarray]]:
    """A folder with train_images.npy beside the other three arrays, or with train/CLASS/ and test/CLASS/: the training images,
    unread, and the other arrays. Raises UserError for anything else."""
    if (path / "train_images.npy").is_file():
        arrays = folder.read_arrays(path, mapped=True)
        images = arrays.pop("train_images")
        if images.ndim not in (3, 4) or len(images) != len(arrays["train_labels"]):
            raise UserError(f"{path}: train_images.npy of shape {images.shape}, but {len(arrays['train_labels'])} train_labels")
        return Mapped(images if images.ndim == 4 else images[..., None]), arrays
    if not path.is_dir():
        raise UserError(f"stored=true is not possible with '{path}' (a folder of images, or of train_images.npy and so on)")
    paths, labels = folder.list_part(path / "train", folder.classes(path))
    test_images, test_labels = folder.read_part(path / "test", folder.classes(path))
    arrays = {"train_labels": labels, "test_images": test_images, "test_labels": test_labels}
    return Listed(paths, folder.read_image(paths[0]).shape), arrays
