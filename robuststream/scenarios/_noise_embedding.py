"""Noise along the shape of the data: ProtoNoise and MarginNoise, by cosines to class prototypes of an embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from robuststream.contracts import Split
from robuststream.errors import UserError
from robuststream.scenarios._autoencoder import embed
from robuststream.scenarios._noise_files import read_array
from robuststream.scenarios._noise_shared import Asked, choose, wrong_class

SHARPNESS = 2.5
"""Cosines are multiplied by this before the softmax over wrong classes [Wojtulewicz et al., Label Noise Has a Shape, 2026]."""


def proto(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """ProtoNoise: flip uniform examples, more often to classes whose prototype is close to their own class's."""
    _, prototypes = geometry(_embedding(train, asked, generator), labels, train.num_classes)
    chosen = choose(torch.randperm(len(labels), generator=generator), asked.rate)
    between = prototypes @ prototypes.T
    destination = wrong_class(SHARPNESS * between[labels], labels, generator)
    labels[chosen] = destination[chosen]
    return labels


def margin(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """MarginNoise: flip the examples with the smallest margin (own less best other cosine), more often to close prototypes."""
    cosine, _ = geometry(_embedding(train, asked, generator), labels, train.num_classes)
    own = F.one_hot(labels, train.num_classes).bool()
    margins = cosine[own] - cosine.masked_fill(own, -float("inf")).amax(1)
    chosen = choose(margins.argsort(stable=True), asked.rate)
    destination = wrong_class(SHARPNESS * cosine, labels, generator)
    labels[chosen] = destination[chosen]
    return labels


def geometry(embedding: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Cosine (N, K) of every example to every class's prototype, and the prototypes (K, d), of unit length.

    Examples (N, d) are centred on their mean and brought to unit length; a prototype is the mean of its class, at unit length
    again. A class without examples has the zero vector: it is as far from everything as chance.
    """
    points = F.normalize(embedding.double() - embedding.double().mean(0), dim=1)
    sums = points.new_zeros(num_classes, points.shape[1]).index_add_(0, labels, points)
    prototypes = F.normalize(sums, dim=1)
    return points @ prototypes.T, prototypes


def _embedding(train: Split, asked: Asked, generator: Generator) -> Tensor:
    """(N, d) of the pool: the user's own by the data set's rows, or an autoencoder's. Raises UserError."""
    if asked.file is None:
        return embed(train.images.cpu(), generator.initial_seed())
    path = Path(asked.file).expanduser()
    given = read_array(path, asked.key, (".npy", ".npz"))
    if given.ndim != 2 or given.dtype.kind not in "fiu":
        raise UserError(f"LabelNoise: {path} holds {given.dtype} of shape {given.shape}, not (examples, dimensions) of numbers")
    if len(given) != train.total:
        raise UserError(
            f"LabelNoise: {path} holds {len(given)} rows, but {train.dataset} has {train.total} training examples: "
            "one row per example of the data set's own order is needed"
        )
    if not np.isfinite(given).all():
        raise UserError(f"LabelNoise: {path} holds numbers that are not finite")
    rows = train.rows.cpu()
    known = torch.from_numpy(given.astype(np.float64))[rows.clamp(min=0)]
    return known * (rows >= 0)[:, None]  # an image that is none of the data set's has no place in its embedding
