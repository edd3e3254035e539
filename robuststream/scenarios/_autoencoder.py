"""An embedding of the pool's own images: the bottleneck of a small autoencoder, trained once per pool and seed, and kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

VERSION = 1
"""Raised whenever the same images and seed would give another embedding: what is kept is then trained anew."""

HIDDEN, BOTTLENECK, STEPS, BATCH, RATE = 256, 128, 1000, 128, 1e-3


def embed(images: Tensor, seed: int, folder: Path | None = None) -> Tensor:
    """(N, C, H, W) uint8 on the CPU -> (N, d) float32, d = min(128, an eighth of the pixels).

    A deviation from the paper, whose ResNet-18 autoencoder takes a GPU: two dense layers each way, 1000 steps of Adam, seconds
    on a core (half a minute on CIFAR). Kept in `folder`, by default ~/.cache/robuststream/embeddings; where that cannot be
    written, it is trained every time, to the same bits.
    """
    pixels = images.contiguous().flatten(1)
    digest = hashlib.sha256(f"{VERSION} {seed} {tuple(images.shape)}".encode())
    digest.update(pixels.numpy().data)
    place = (folder or Path("~/.cache/robuststream/embeddings").expanduser()) / f"{digest.hexdigest()[:24]}.npy"
    kept = _read(place, len(images))
    if kept is None:
        kept = _train(pixels, seed)
        _keep(place, kept)
    return kept


def _train(pixels: Tensor, seed: int) -> Tensor:
    # Its own stream: whatever the noise draws afterwards does not depend on whether the embedding was kept.
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"autoencoder/{seed}".encode()).digest()[:7]))
    size = pixels.shape[1]
    widths = (size, HIDDEN, min(BOTTLENECK, max(2, size // 8)), HIDDEN, size)
    with _one_thread(), torch.enable_grad():
        layers = [_layer(*ends, generator) for ends in pairwise(widths)]
        optimizer = torch.optim.Adam([value for layer in layers for value in layer], lr=RATE, fused=True)
        for _ in range(STEPS):
            batch = _floats(pixels[torch.randint(len(pixels), (BATCH,), generator=generator)])
            loss = F.mse_loss(_through(layers[2:], _through(layers[:2], batch)), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return torch.cat([_through(layers[:2], _floats(part)) for part in pixels.split(4096)])


def _layer(inputs: int, outputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weights (outputs, inputs) and bias, uniform as torch's own Linear, which would draw from the global generator."""
    bound = inputs**-0.5
    weight, bias = torch.empty(outputs, inputs), torch.empty(outputs)
    for value in (weight, bias):
        value.uniform_(-bound, bound, generator=generator).requires_grad_()
    return weight, bias


def _through(layers: list[tuple[Tensor, Tensor]], values: Tensor) -> Tensor:
    (first, second) = layers
    return F.linear(F.relu(F.linear(values, *first)), *second)


def _floats(pixels: Tensor) -> Tensor:
    return pixels.float() / 255.0


@contextmanager
def _one_thread() -> Iterator[None]:
    """So that sums are taken in one order, and labels do not depend on who trained the embedding first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _read(place: Path, size: int) -> Tensor | None:
    """What is kept there; None where there is nothing, or nothing that can be used."""
    with suppress(Exception):  # whatever a torn file makes of the reader
        kept = np.load(place, allow_pickle=False)
        if kept.ndim == 2 and len(kept) == size and kept.dtype == np.float32 and np.isfinite(kept).all():
            return torch.from_numpy(kept)
    return None


def _keep(place: Path, embedding: Tensor) -> None:
    """Written beside, then renamed: several workers may do so at once."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_suffix(f".{os.getpid()}")
        with open(beside, "wb") as file:
            np.save(file, embedding.numpy())
        os.replace(beside, place)
