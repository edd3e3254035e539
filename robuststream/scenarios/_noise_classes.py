"""Noise that looks at the class alone: symmetric, pair, asymmetric and semantic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Generator, Tensor

from robuststream.contracts import Split
from robuststream.errors import UserError, meant
from robuststream.scenarios._noise_shared import Asked, choose

_DIGITS = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}

MAPS: dict[str, dict[int, Any]] = {
    # truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog [Patrini et al., CVPR 2017]
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
    # 2 -> 7, 3 -> 8, 5 <-> 6, 7 -> 1 [Patrini et al., CVPR 2017]
    "mnist": _DIGITS,
    "digits": _DIGITS,
    # boot -> sneaker, sneaker -> sandal, pullover -> shirt, coat <-> dress [Zhang & Sabuncu, NeurIPS 2018, from memory]. Boot,
    # pullover and coat -> dress are also in a summary of Kim et al., ICCV 2019 (NLNL); sneaker, dress -> coat were read nowhere.
    "fashion-mnist": {9: 7, 7: 5, 2: 6, 4: 3, 3: 4},
}
"""The usual class-dependent flips, by the data set they belong to."""

TWO_EACH: dict[str, dict[int, Any]] = {
    # Two look-alikes of every class [Wojtulewicz et al., Label Noise Has a Shape, 2026]
    "cifar10": {0: [2, 1], 1: [9, 8], 2: [0, 6], 3: [5, 6], 4: [7, 2], 5: [3, 7], 6: [4, 3], 7: [4, 5], 8: [0, 9], 9: [1, 8]},
}
"""Two destinations per class, by the data set they belong to; elsewhere they are the two classes with the nearest mean image."""


def symmetric(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Flip to any of the K-1 wrong classes, or, inclusively, to any of the K classes (some then keep their own)."""
    first = 0 if asked.inclusive else 1
    chosen = choose(torch.randperm(len(labels), generator=generator), asked.rate)
    # One offset per example, flipped or not: under one seed a higher rate then keeps every flip of a lower one.
    offset = torch.randint(first, train.num_classes, labels.shape, generator=generator)
    labels[chosen] = (labels + offset)[chosen] % train.num_classes
    return labels


def pair(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Flip to the next class, c -> (c + 1) mod K."""
    chosen = choose(torch.randperm(len(labels), generator=generator), asked.rate)
    labels[chosen] = (labels[chosen] + 1) % train.num_classes
    return labels


def asymmetric(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Flip by a map of classes; the rate is of the examples in mapped classes, the others stay as they are."""
    destination = torch.arange(train.num_classes)
    for source, targets in _links(asked.map, train, MAPS).items():
        if len(targets) > 1:
            raise UserError(f"LabelNoise: map gives class {source} {len(targets)} classes; noise: semantic takes several")
        destination[source] = targets[0]
    mapped = (destination[labels] != labels).nonzero().squeeze(1)
    chosen = choose(mapped[torch.randperm(len(mapped), generator=generator)], asked.rate)
    labels[chosen] = destination[labels[chosen]]
    return labels


def semantic(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Flip to one of a few look-alike classes, the counts of all edges in proportion [Semantic-2, Wojtulewicz et al., 2026].

    Every mapped class gives the same share to each of its destinations; the budget of whole flips is dealt by largest
    remainder. The rate is of the examples in mapped classes.
    """
    known = asked.map is not None or train.dataset in TWO_EACH
    links = _links(asked.map, train, TWO_EACH) if known else _nearest_two(labels, train)
    sizes = torch.bincount(labels, minlength=train.num_classes).tolist()
    budget = round(asked.rate * sum(sizes[source] for source in links))
    counts = edge_counts(sizes, links, budget)
    clean = labels.clone()
    for source, targets in links.items():
        own = (clean == source).nonzero().squeeze(1)
        own = own[torch.randperm(len(own), generator=generator)]
        parts = own.split([*(counts[source, to] for to in targets), len(own) - sum(counts[source, to] for to in targets)])
        for to, part in zip(targets, parts, strict=False):
            labels[part] = to
    return labels


def edge_counts(sizes: list[int], links: dict[int, list[int]], budget: int) -> dict[tuple[int, int], int]:
    """(source, destination) -> whole flips, `budget` in all, no class giving more than its size [Hamilton's method]."""
    mapped = max(1, sum(sizes[source] for source in links))
    exact = {(a, b): Fraction(budget * sizes[a], mapped * len(targets)) for a, targets in links.items() for b in targets}
    counts = {edge: int(share) for edge, share in exact.items()}
    for edge in sorted(exact, key=lambda edge: (counts[edge] - exact[edge], edge)):
        given = sum(count for (source, _), count in counts.items() if source == edge[0])
        if sum(counts.values()) < budget and given < sizes[edge[0]]:
            counts[edge] += 1
    return counts


def check_map(given: str | dict[Any, Any] | None, noise: str) -> None:
    """Refuse a map that no data set could take. Raises UserError."""
    shipped = TWO_EACH if noise == "semantic" else MAPS
    if isinstance(given, str) and given not in shipped:
        raise UserError(f"LabelNoise: map='{given}' is not possible (no such map; {meant(given, shipped)}; or a mapping)")
    if isinstance(given, dict):
        _classes(given)


def _nearest_two(labels: Tensor, train: Split) -> dict[int, list[int]]:
    """For every class that has examples, the two others (one of two) whose mean images are nearest; ties to the lower class."""
    pixels = train.images.cpu().flatten(1).double()
    present = labels.unique().tolist()
    if len(present) < 2:
        return {source: [(source + 1) % train.num_classes] for source in present}
    means = torch.stack([pixels[labels == source].mean(0) for source in present])
    order = torch.cdist(means, means).fill_diagonal_(float("inf")).argsort(dim=1, stable=True)[:, : min(2, len(present) - 1)]
    return {source: [present[place] for place in near] for source, near in zip(present, order.tolist(), strict=True)}


def _links(given: str | dict[Any, Any] | None, train: Split, shipped: dict[str, dict[int, Any]]) -> dict[int, list[int]]:
    """Class -> its destinations by the map in force, with every class inside 0..K-1. Raises UserError."""
    if isinstance(given, dict):
        links = _classes(given)
    else:
        name = given or train.dataset
        if name not in shipped:
            raise UserError(
                f"LabelNoise: no asymmetric map is known for data set '{name}'; {meant(name, shipped)}; "
                "name one of them as 'map', or give {class: class}"
            )
        links = _classes(shipped[name])
    outside = sorted(c for source, targets in links.items() for c in (source, *targets) if c >= train.num_classes)
    if outside:
        raise UserError(f"LabelNoise: map names class {outside[0]}, but {train.dataset} has 0 to {train.num_classes - 1}")
    return links


def _classes(given: dict[Any, Any]) -> dict[int, list[int]]:
    """A map with whole numbers on both sides; JSON and `key=value` spell a class as text, which is accepted."""
    rule = "a mapping {class: class} of whole numbers, none to itself"
    if not given:
        raise UserError(f"LabelNoise: map={given} is empty (allowed: {rule})")
    links: dict[int, list[int]] = {}
    for key, value in given.items():
        targets: list[Any] = value if isinstance(value, list) and value else [value]
        if not all(isinstance(c, (int, str)) and not isinstance(c, bool) and str(c).isdecimal() for c in (key, *targets)):
            raise UserError(f"LabelNoise: map has {key!r}: {value!r} (allowed: {rule})")
        source, destinations = int(str(key)), [int(target) for target in targets]
        if source in destinations:
            raise UserError(f"LabelNoise: map sends class {source} to itself (allowed: {rule})")
        if source in links:
            raise UserError(f"LabelNoise: map names class {source} twice (allowed: {rule})")
        if len(set(destinations)) < len(destinations):
            raise UserError(f"LabelNoise: map sends class {source} twice to the same class (allowed: {rule})")
        links[source] = destinations
    return links
