"""What the kinds of label noise share: how they are asked, an exact choice of examples, a drawn destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor
from torch.nn import functional as F

from robuststream.contracts import Split


class Asked(Protocol):
    """The hyperparameters that a kind may read."""

    noise: str
    rate: float
    inclusive: bool
    map: str | dict[Any, Any] | None
    file: str | None
    key: str | None


class Kind(NamedTuple):
    """How one kind of noise rewrites a CPU copy of the labels (N,) int64, and which hyperparameters it reads."""

    rewrite: Callable[[Tensor, Split, Asked, Generator], Tensor]
    reads: tuple[str, ...]


def choose(order: Tensor, rate: float) -> Tensor:
    """The first round(rate x M) of (M,) candidates in their order (Python's rounding: a half goes to the even number)."""
    return order[: round(rate * len(order))]


def wrong_class(logits: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """(N,) a class other than the label for every example, drawn from the softmax of its (N, K) logits over those classes.

    By the largest of logits plus Gumbel noise: one draw per example, flipped or not, so that under one seed a higher rate keeps
    every flip of a lower one.
    """
    gumbel = logits.double().new_empty(logits.shape).exponential_(generator=generator).log().neg()
    own = F.one_hot(labels, logits.shape[1]).bool()
    return (logits + gumbel).masked_fill(own, -float("inf")).argmax(1)
