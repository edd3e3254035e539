"""When robust accuracy must not be believed: the five warnings of AutoAttack, as flags beside the number.

Paper: Croce and Hein, ICML 2020, and the checks of the authors' repository (thresholds are theirs). Deviations: the zero
gradients are those of the margin between logits at the clean images, where theirs are met on the way of an attack.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from robuststream.attacks import evaluating

RANDOM, SOFTMAX, ZERO = "random-forward", "softmax-outputs", "zero-gradients"
DYNAMIC, SQUARE = "gradient-inside", "square-stronger"

_REPEATS = 5
_APART = 1e-4  # between logits of unit length
_ROUNDING = 1e-5
SQUARE_GAIN = 0.002
"""Share of the examples that Square may take from what the gradient attacks left."""


def network_flags(network: nn.Module, images: Tensor, labels: Tensor) -> list[dict[str, str]]:
    """What is suspicious of a network on (m, C, H, W) images in [0, 1] with labels (m,), in eval mode; it stays as it was."""
    with evaluating(network):
        found = [
            (RANDOM, _random(network, images)),
            (SOFTMAX, _softmax(network, images)),
            (DYNAMIC, _dynamic(network, images)),
            (ZERO, _zero_gradients(network, images, labels)),
        ]
    return [{"kind": kind, "detail": detail} for kind, detail in found if detail]


def square_flag(before: int, after: int, examples: int) -> dict[str, str] | None:
    """Square uses no gradient: where it takes much of what the gradient attacks have left, gradients mislead."""
    if before - after <= SQUARE_GAIN * examples:
        return None
    return {"kind": SQUARE, "detail": f"Square took {before - after} of {examples} examples that the gradient attacks had left"}


@torch.no_grad()
def _random(network: nn.Module, images: Tensor) -> str:
    logits = torch.stack([network(images) for _ in range(_REPEATS)])
    changed = int((logits.argmax(2) != logits[0].argmax(1)).any(0).sum())
    if changed:
        return f"{changed} of {len(images)} predictions change when the same images are shown {_REPEATS} times"
    directions = logits / (logits.norm(dim=2, keepdim=True) + 1e-10)
    apart = float((directions[:, None] - directions[None]).norm(dim=3).max())
    return f"logits of the same images differ by {apart:.2g} of their length between passes" if apart > _APART else ""


@torch.no_grad()
def _softmax(network: nn.Module, images: Tensor) -> str:
    outputs = network(images)
    between = bool((outputs > -_ROUNDING).all() & (outputs < 1 + _ROUNDING).all())
    if between and bool(((outputs.sum(1) - 1).abs() < _ROUNDING).all()):
        return "outputs lie in [0, 1] and sum to 1: they look like probabilities, attacks need logits"
    return ""


def _zero_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> str:
    with torch.enable_grad():
        inputs = images.detach().clone().requires_grad_()
        logits = network(inputs)
        own = logits.gather(1, labels[:, None]).squeeze(1)
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        gap = (own - other).sum()
        slopes = torch.autograd.grad(gap, inputs, allow_unused=True)[0] if gap.requires_grad else None
    flat = len(images) if slopes is None else int((slopes.flatten(1).abs().sum(1) == 0).sum())
    return f"the margin has no gradient at {flat} of {len(images)} images" if flat else ""


def _dynamic(network: nn.Module, images: Tensor) -> str:
    calls: set[str] = set()
    with torch.no_grad(), _watching(calls):
        network(images[:1])
    return f"the forward pass itself takes gradients ({', '.join(sorted(calls))})" if calls else ""


@contextmanager
def _watching(calls: set[str]) -> Iterator[None]:
    """Collect the names of torch's gradient functions that are called; whoever profiled before goes on afterwards."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        where = frame.f_globals.get("__name__", "")
        if event == "call" and where.startswith("torch.autograd") and frame.f_code.co_name in ("grad", "backward"):
            calls.add(f"{where}.{frame.f_code.co_name}")

    before: Any = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        if hasattr(before, "enable"):  # cProfile's, before Python 3.12: no function, and put back by its own means
            before.enable()
        else:
            sys.setprofile(before)
