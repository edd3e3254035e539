"""Slow twins of the label noise kinds, written from the papers in NumPy. They share the random numbers, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats


def normal_cut(uniform: np.ndarray, rate: float) -> np.ndarray:
    """Propensities: N(rate, 0.1) cut to [0, 1]."""
    return stats.truncnorm.ppf(uniform, (0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)


def destination(logits: np.ndarray, own: int, waiting: np.ndarray) -> int:
    """Which of the wrong classes rings first, each waiting exponentially at a rate in proportion to its softmax."""
    best, first = -1, math.inf
    for place, logit in enumerate(logits):
        rings = waiting[place] / math.exp(logit - max(logits))
        if place != own and rings < first:
            best, first = place, rings
    return best


def instance(images: torch.Tensor, labels: list[int], classes: int, rate: float, seed: int) -> list[int]:
    """Xia et al., algorithm 2, with an exact budget."""
    generator, count = torch.Generator().manual_seed(seed), len(labels)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
    waiting = torch.empty(count, dtype=torch.float64).exponential_(generator=generator).numpy()
    pixels = images.numpy().reshape(count, -1) / 255
    matrices = [torch.randn(pixels.shape[1], classes, generator=generator).numpy() for _ in range(classes)]
    rings = torch.empty(count, classes, dtype=torch.float64).exponential_(generator=generator).numpy()
    when = waiting / np.maximum(normal_cut(uniform, rate), 1e-12)
    noisy = list(labels)
    for place in sorted(range(count), key=lambda i: when[i])[: round(rate * count)]:
        noisy[place] = destination(pixels[place] @ matrices[labels[place]], labels[place], rings[place])
    return noisy


def prototypes(embedding: np.ndarray, labels: list[int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit examples around their mean, and a unit prototype per class; zeros for a class without examples."""

    def unit(vector: np.ndarray) -> np.ndarray:
        length = math.sqrt(float((vector**2).sum()))
        return vector / length if length > 0 else vector

    points = [unit(row) for row in embedding - embedding.mean(0)]
    found = np.zeros((classes, embedding.shape[1]))
    for place in set(labels):
        found[place] = unit(np.mean([point for point, label in zip(points, labels, strict=True) if label == place], axis=0))
    return np.array(points), found


def proto(embedding: np.ndarray, labels: list[int], classes: int, rate: float, seed: int) -> list[int]:
    generator, count = torch.Generator().manual_seed(seed), len(labels)
    _, centres = prototypes(embedding, labels, classes)
    order = torch.randperm(count, generator=generator).tolist()
    rings = torch.empty(count, classes, dtype=torch.float64).exponential_(generator=generator).numpy()
    noisy = list(labels)
    for place in order[: round(rate * count)]:
        own = labels[place]
        noisy[place] = destination(2.5 * np.array([centres[own] @ other for other in centres]), own, rings[place])
    return noisy


def margin(embedding: np.ndarray, labels: list[int], classes: int, rate: float, seed: int) -> list[int]:
    generator, count = torch.Generator().manual_seed(seed), len(labels)
    points, centres = prototypes(embedding, labels, classes)
    rings = torch.empty(count, classes, dtype=torch.float64).exponential_(generator=generator).numpy()

    def of(place: int) -> float:
        cosines = [float(points[place] @ centre) for centre in centres]
        return cosines[labels[place]] - max(c for other, c in enumerate(cosines) if other != labels[place])

    noisy = list(labels)
    for place in sorted(range(count), key=of)[: round(rate * count)]:
        noisy[place] = destination(2.5 * np.array([points[place] @ other for other in centres]), labels[place], rings[place])
    return noisy


def semantic(labels: list[int], links: dict[int, list[int]], rate: float, seed: int) -> list[int]:
    """Edge counts by largest remainder in whole numbers, over one common denominator."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {source: labels.count(source) for source in links}
    budget, whole = round(rate * sum(sizes.values())), max(1, sum(sizes.values()))
    common = whole * math.lcm(*(len(targets) for targets in links.values()))
    parts = {(a, b): budget * sizes[a] * (common // (whole * len(t))) for a, t in links.items() for b in t}
    counts = {edge: part // common for edge, part in parts.items()}
    for edge in sorted(parts, key=lambda edge: (-(parts[edge] % common), edge)):
        full = sum(n for (a, _), n in counts.items() if a == edge[0]) >= sizes[edge[0]]
        if sum(counts.values()) < budget and not full:
            counts[edge] += 1
    noisy = list(labels)
    for source, targets in links.items():
        own = [place for place, label in enumerate(labels) if label == source]
        own = [own[i] for i in torch.randperm(len(own), generator=generator).tolist()]
        for target in targets:
            flipped, own = own[: counts[source, target]], own[counts[source, target] :]
            for place in flipped:
                noisy[place] = target
    return noisy
