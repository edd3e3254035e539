"""Noise that looks at the picture itself: instance-dependent, by random projections of its pixels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from robuststream.contracts import Split
from robuststream.scenarios._noise_shared import Asked, choose, wrong_class

SPREAD = 0.1
"""Standard deviation of the propensities [Xia et al., NeurIPS 2020, algorithm 2]."""


def instance(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Flip what is prone to it, to where the picture points [Xia et al., NeurIPS 2020 (arXiv 2006.07836), algorithm 2].

    Every example has a propensity from the normal distribution N(rate, 0.1) cut to [0, 1], and the wrong classes' logits are
    pixels / 255 times a Gaussian matrix (D, K) of its own class. There each example flips by chance; here exactly
    round(rate x N) do, drawn without replacement in proportion to their propensities [Wojtulewicz et al., 2026].
    """
    propensity = propensities(len(labels), asked.rate, generator)
    # Ranks of exponential waiting times at these rates: weighted drawing without replacement [Efraimidis & Spirakis, 2006].
    waiting = torch.empty_like(propensity).exponential_(generator=generator) / propensity.clamp(min=1e-12)
    chosen = choose(waiting.argsort(stable=True), asked.rate)
    destination = wrong_class(_logits(labels, train, generator), labels, generator)
    labels[chosen] = destination[chosen]
    return labels


def propensities(count: int, rate: float, generator: Generator) -> Tensor:
    """(count,) float64 of the normal distribution N(rate, 0.1) cut to [0, 1], by its inverse distribution function."""
    low, high = (float(torch.special.ndtr(torch.tensor((end - rate) / SPREAD, dtype=torch.float64))) for end in (0.0, 1.0))
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    return (rate + SPREAD * torch.special.ndtri(low + (high - low) * uniform)).clamp(0.0, 1.0)


def _logits(labels: Tensor, train: Split, generator: Generator) -> Tensor:
    """(N, K) float32; the matrix of every class is drawn, whether it has examples or not."""
    pixels = train.images.cpu().flatten(1).float() / 255.0
    logits = torch.empty(len(labels), train.num_classes)
    for source in range(train.num_classes):
        matrix = torch.randn(pixels.shape[1], train.num_classes, generator=generator)
        own = labels == source
        logits[own] = pixels[own] @ matrix
    return logits
