"""Mini-batches from data that lie on the device as bytes: one gather, no worker processes, no reading back."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.contracts import Split


class Batches:
    """Fetches examples of a split by index, each presented example augmented anew.

    Images lie in memory row by row, pixel by pixel (NHWC), padded with zeros, and with `flip` a second time, mirrored. Whole
    images are gathered first, each a run of bytes that memory delivers fast; a row of a cropped image is W * C bytes in
    succession wherever it begins, so cropping is a second gather of n * H short runs, from the caches.
    """

    def __init__(self, split: Split, *, crop: int = 0, flip: bool = False, generator: torch.Generator | None = None) -> None:
        """`crop` pixels of zero padding on every side; `generator`, on the split's device, is used for augmentation alone."""
        augments = bool(crop or flip)
        if augments and generator is None:
            raise ValueError("augmentation needs a generator")
        self.labels = split.labels
        self.size, self.channels, self.height, self.width = split.images.shape
        self.crop, self.flip, self.generator = crop, flip, generator
        images = split.images.permute(0, 2, 3, 1).contiguous()  # no copy where the split lies in memory like this already
        self._images = images.view(self.size, -1)
        self._padded = self._pad(images) if augments else None
        self._down = torch.arange(self.height, device=images.device) * ((self.width + 2 * crop) * self.channels)

    def fetch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) indices, repeats allowed -> (n, C, H, W) float32 in [0, 1], channels_last where C > 1, and (n,) labels.

        Every presented example is mirrored with chance 1/2, then cropped at an offset uniform in 0..2 crop on either axis.
        """
        if self._padded is None:
            return self.plain(index)
        n, device, labels = len(index), index.device, self.labels.index_select(0, index)
        top, left = torch.randint(0, 2 * self.crop + 1, (2, n), generator=self.generator, device=device)
        if self.flip:
            index = index + self.size * torch.randint(0, 2, (n,), generator=self.generator, device=device)
        chosen = self._padded.index_select(0, index)
        across, run = self.width + 2 * self.crop, self.width * self.channels
        first = torch.arange(n, device=device) * (self.height + 2 * self.crop) + top
        begins = (first * across + left)[:, None] * self.channels + self._down
        every_run = chosen.as_strided((chosen.numel() - run + 1, run), (1, 1))  # one view of each byte's successors
        return self._floats(every_run.index_select(0, begins.flatten())), labels

    def plain(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """As `fetch`, without augmentation."""
        return self._floats(self._images.index_select(0, index)), self.labels.index_select(0, index)

    def _pad(self, images: Tensor) -> Tensor:
        """(N or 2 N, bytes) the padded images, then their mirrors."""
        down, across = (slice(self.crop, self.crop + length) for length in (self.height, self.width))
        padded = (self.height + 2 * self.crop, self.width + 2 * self.crop, self.channels)
        memory = images.new_zeros((self.size * (2 if self.flip else 1), *padded))
        memory[: self.size, down, across] = images
        if self.flip:
            memory[self.size :, down, across] = images.flip(2)
        return memory.view(len(memory), -1)

    def _floats(self, pixels: Tensor) -> Tensor:
        values = pixels.float().div_(255)
        if self.channels == 1:
            return values.view(-1, 1, self.height, self.width)
        return values.view(-1, self.height, self.width, self.channels).permute(0, 3, 1, 2)
