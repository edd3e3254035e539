"""Open-set noise: some pictures are of nothing that the classes name, and keep the label of the one they replace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as V

from robuststream.contracts import Scenario, Split
from robuststream.data import catalog
from robuststream.data.load import load_arrays
from robuststream.errors import UserError
from robuststream.hyperparameters import hyper


@dataclass
class OpenSet(Scenario):
    """Replace exactly round(rate x N) training images by foreign ones, under the labels that stand there: no class is right.

    Labels, and so class sizes, stay as they are; a replaced example has no clean label and counts as wrong. Foreign images are
    brought to the pool's size and colours. Under one seed the places replaced at a lower rate are among those of a higher one.

    Paper: Wang et al., CVPR 2018 (arXiv 1804.00092), who put CIFAR-100, ImageNet32 and noise into CIFAR-10.
    Cost: one permutation of the pool, once.
    Deviations: without `images`, patches of two photographs that scikit-learn ships, so that nothing need be downloaded.
    """

    rate: float = hyper(0.4, low=0, high=1, help="share of the training images that are replaced")
    images: str | None = hyper(
        None, help="a data set's name or path, whose training images are taken; null: patches of scikit-learn's photographs"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images is not None:
            catalog.require(self.images)

    def fingerprint(self) -> str:
        return "" if self.images is None else catalog.fingerprint(self.images)

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A new split with some images replaced and their rows set to -1. Raises UserError."""
        if self.images == train.dataset:
            raise UserError(f"OpenSet: images={self.images} is not possible (those are the pool's own; name another data set)")
        size = len(train.labels)
        chosen = torch.randperm(size, generator=generator)[: round(self.rate * size)]
        count = len(chosen)
        foreign = _patches(train, count, generator) if self.images is None else _of(self.images, train, count, generator)
        images, rows, place = train.images.clone(), train.rows.clone(), chosen.to(train.images.device)
        images[place] = foreign.to(images.device)
        rows[place] = -1
        return replace(train, images=images, rows=rows)


def _of(name: str, train: Split, count: int, generator: Generator) -> Tensor:
    """(count, C, H, W) uint8 training images of another data set, drawn uniformly, in the pool's size and colours."""
    pixels = torch.from_numpy(load_arrays(name).train_images.copy())
    drawn = pixels[torch.randint(len(pixels), (count,), generator=generator)].permute(0, 3, 1, 2)
    return _fitted(drawn, train)


def _patches(train: Split, count: int, generator: Generator) -> Tensor:
    """(count, C, H, W) uint8 square patches of two photographs, 8 to 64 pixels wide, in the pool's size and colours."""
    from sklearn.datasets import load_sample_images

    photographs = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2)  # (2, 3, 427, 640)
    which = torch.randint(2, (count,), generator=generator)
    left, top, side = torch.rand(3, count, generator=generator)
    side = (8 + side * 56).long()
    top, left = (top * (427 - side)).long(), (left * (640 - side)).long()
    patches = [
        _fitted(photographs[w : w + 1, :, t : t + s, x : x + s], train)
        for w, t, x, s in zip(which.tolist(), top.tolist(), left.tolist(), side.tolist(), strict=True)
    ]
    return torch.cat(patches) if patches else train.images[:0]


def _fitted(images: Tensor, train: Split) -> Tensor:
    channels, height, width = train.images.shape[1:]
    images = V.resize(images, [height, width], antialias=True)
    return V.rgb_to_grayscale(images) if channels == 1 and images.shape[1] == 3 else images.expand(-1, channels, -1, -1)
