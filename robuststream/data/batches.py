"""Mini-batches from data that lie on the device as bytes: one gather, no worker processes, no reading back."""

from __future__ import annotations

from contextlib import suppress
from typing import TypedDict

import torch
from torch import Tensor, nn

from robuststream.contracts import Split
from robuststream.data._native import NativeFetch
from robuststream.data.scale import UNIT, Scale
from robuststream.errors import UserError


class Augmented(TypedDict, total=False):
    """How a kind of `Batches` that hands it on is told to augment."""

    crop: int
    reflect: bool
    flip: bool
    generator: torch.Generator | None


class Batches:
    """Fetches examples of a split by index, each presented example augmented anew.

    Images lie in memory row by row, pixel by pixel (NHWC). On a CPU a pass in C does everything at once, where it is built.
    Elsewhere images are padded, and with `flip` there a second time, mirrored. Whole images are gathered first, each
    a run of bytes that memory delivers fast; a row of a cropped image is W * C bytes in succession wherever it begins, so
    cropping is a second gather of n * H short runs, from the caches. Both ways give the same bits.
    """

    def __init__(
        self,
        split: Split,
        *,
        crop: int = 0,
        reflect: bool = False,
        flip: bool = False,
        alternate: bool = False,
        generator: torch.Generator | None = None,
        native: bool = True,
        rows: Tensor | None = None,
    ) -> None:
        """`crop` pixels of padding on every side, zeros or with `reflect` the image reflected at its border; `generator`, on the
        split's device, is used for augmentation alone.

        With `alternate` an example is mirrored every second time that it is presented, the first time at random. `rows` (N,)
        int64 says where each example's image lies among those of the split, None: in order; for the pass in C alone.
        """
        self.augments = bool(crop or flip)
        if self.augments and generator is None:
            raise ValueError("augmentation needs a generator")
        self.labels = split.labels
        self.num_classes = split.num_classes
        self.size, self.channels, self.height, self.width = split.images.shape
        self.example_size = self.channels * self.height * self.width  # bytes
        if reflect and crop >= min(self.height, self.width):
            size = f"{self.height} x {self.width}"
            raise UserError(f"recipe.augment.crop={crop} is not possible with border=reflect on {size} images (allowed: less)")
        self.crop, self.reflect, self.flip, self.generator = crop, reflect, flip, generator
        self.turned: Tensor | None = None  # (N,) int64, 1 where the next presentation is mirrored
        if flip and alternate:
            self.turned = torch.randint(0, 2, (self.size,), generator=generator, device=split.labels.device)
        images = split.images.permute(0, 2, 3, 1).contiguous()  # no copy where the split lies in memory like this already
        self._images = images.view(self.size, -1)
        self._native: NativeFetch | None = None
        if native and images.is_cpu and type(images) is Tensor:
            with suppress(UserError):  # not built: pure torch does its work
                self._native = NativeFetch(split, images, crop, reflect, rows)
        self._padded = self._pad(images) if self.augments and self._native is None else None
        self._down = torch.arange(self.height, device=images.device) * ((self.width + 2 * crop) * self.channels)

    def ahead(self, index: Tensor) -> None:
        """Nothing has to be read ahead: the images are here."""

    def fetch(self, index: Tensor, scale: Scale = UNIT) -> tuple[Tensor, Tensor]:
        """(n,) indices, repeats allowed -> (n, C, H, W) float32 in [0, 1], or on another scale, and (n,) labels.

        Every presented example is mirrored with chance 1/2, then cropped at an offset uniform in 0..2 crop on either axis.
        Memory is channels_last where C > 1, unless the scale wants planes and they cost nothing.
        """
        if not self.augments:
            return self._whole(index, scale)
        drawn = self._draw(index)
        if self._native is not None:
            return self._native.fetch(index, drawn, scale)
        return scale(self._crop(index, *drawn)), self.labels.index_select(0, index)

    def plain(self, index: Tensor, scale: Scale = UNIT) -> tuple[Tensor, Tensor]:
        """As `fetch`, without augmentation."""
        return self._whole(index, scale)

    def _whole(self, index: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
        if self._native is not None:
            return self._native.fetch(index, None, scale)
        return scale(self._pixels(self._images.index_select(0, index))), self.labels.index_select(0, index)

    def _draw(self, index: Tensor) -> Tensor:
        """(3, n) int64: rows down and columns across at which the crop begins, and whether it is of the mirrored image."""
        drawn = torch.empty((3, index.shape[0]), dtype=torch.int64, device=index.device)
        drawn[:2].random_(0, 2 * self.crop + 1, generator=self.generator)
        mirrored = drawn[2]
        if self.turned is not None:
            mirrored.copy_(self.turned.index_select(0, index))
            self.turned.index_copy_(0, index, 1 - mirrored)  # repeats write the same
        elif self.flip:
            mirrored.random_(0, 2, generator=self.generator)
        else:
            mirrored.zero_()
        return drawn

    def _crop(self, index: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        """(n, C, H, W) uint8 from the padded images."""
        assert self._padded is not None
        chosen = self._padded.index_select(0, index + self.size * mirrored)
        across, run = self.width + 2 * self.crop, self.width * self.channels
        first = torch.arange(len(index), device=index.device) * (self.height + 2 * self.crop) + top
        begins = (first * across + left)[:, None] * self.channels + self._down
        every_run = chosen.as_strided((chosen.numel() - run + 1, run), (1, 1))  # one view of each byte's successors
        return self._pixels(every_run.index_select(0, begins.flatten()))

    def _pad(self, images: Tensor) -> Tensor:
        """(N or 2 N, bytes) the padded images, then their mirrors."""
        both = torch.cat([images, images.flip(2)]) if self.flip else images
        if self.reflect:
            down, across = (_reflected(length, self.crop, images.device) for length in (self.height, self.width))
            memory = both.index_select(1, down).index_select(2, across)
        else:
            memory = nn.functional.pad(both, (0, 0, *(self.crop,) * 4))
        return memory.view(len(memory), -1)

    def _pixels(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) uint8 from rows of bytes."""
        if self.channels == 1:
            return rows.view(-1, 1, self.height, self.width)
        return rows.view(-1, self.height, self.width, self.channels).permute(0, 3, 1, 2)


def _reflected(length: int, crop: int, device: torch.device) -> Tensor:
    """(length + 2 crop,) which pixel stands where, as in 2 1 | 0 1 2 3 | 2 1."""
    inside = torch.arange(-crop, length + crop, device=device).abs()
    return torch.minimum(inside, 2 * (length - 1) - inside)
