"""Draws without replacement from a sum tree, in fixed shapes: an exponential race, run down the layers."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.sumtree._layers import FANOUT, SHIFT, Layers

NEXT_TO_NOTHING = 2.0**-700
"""The rate of a leaf of zero: lost in every sum with a positive value, so zeros come last, and uniformly."""


def draw_distinct(layers: Layers, n: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 different indices, in the order of n successive draws, each in proportion to the values of those left.

    Leaf i arrives after an exponential time of rate value_i, and the first n are the answer [Efraimidis and Spirakis, 2006].
    The first arrival below an entry has the rate of its sum, so only the n earliest entries of a layer are looked into. Its
    children race: the winner is the one that arrived then, and the others, having no memory, lag as far behind it as in the race.
    """
    top = len(layers.flat) - 1
    entries = torch.arange(layers.lengths[top], device=layers.top.device)
    arrival = _race(_rate(layers, top, entries), generator)
    at, arrival = _earliest(entries, arrival, min(n, len(entries)))
    for layer in reversed(range(top)):
        children = (at << SHIFT)[:, None] + torch.arange(FANOUT, device=at.device)
        race = _race(_rate(layers, layer, children), generator)
        times = arrival[:, None] + (race - race.amin(1, keepdim=True))
        at, arrival = _earliest(children.view(-1), times.view(-1), min(n, layers.lengths[layer]))
    return at


def _rate(layers: Layers, layer: int, entries: Tensor) -> Tensor:
    """The arrival rates of entries of a layer; zero for padding."""
    below = 1 << SHIFT * layer
    leaves = (layers.lengths[0] - entries * below).clamp(0, below)
    return layers.flat[layer][entries].double() + leaves.double() * NEXT_TO_NOTHING


def _race(rate: Tensor, generator: torch.Generator) -> Tensor:
    """Exponential times of these rates, float64; infinite where a rate is zero."""
    uniform = torch.rand(rate.shape, generator=generator, dtype=torch.float64, device=rate.device)
    return -torch.log1p(-uniform) / rate


def _earliest(entries: Tensor, arrival: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n entries that arrive first, in order, and their times."""
    times, place = arrival.topk(n, largest=False, sorted=True)
    return entries[place], times
