"""A pool made of another one's examples."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from robuststream.contracts import Split


def take(train: Split, places: Tensor) -> Split:
    """The examples at these (M,) places, repeats allowed, each with the row that says which one it is."""
    there = places.to(train.labels.device)
    images = train.images.permute(0, 2, 3, 1)[there].permute(0, 3, 1, 2)  # keeps the NHWC order of memory
    return replace(train, images=images, labels=train.labels[there], rows=train.rows[there])
