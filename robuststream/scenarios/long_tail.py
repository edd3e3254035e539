"""A long tail: classes of very different sizes to learn from, while validation and test stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from robuststream.contracts import Scenario, Split
from robuststream.hyperparameters import hyper
from robuststream.scenarios._take import take


@dataclass
class LongTail(Scenario):
    """Keep n_c examples of class c, falling exponentially from the first class, `ratio` times as large as the last, to that.

    n_c = round(M ratio^(-c / (K-1))), at least one, with the largest M that the classes can give. The pool, and with it what a
    budget in epochs buys, is smaller than before. Which examples stay is drawn; under one seed a steeper tail keeps fewer of the
    same wherever M is the same.

    Paper: Cui et al., CVPR 2019 (arXiv 1901.05555), whose classes are of equal size to begin with.
    Cost: one permutation of the pool, once.
    """

    ratio: float = hyper(100.0, low=1, high=1e6, help="size of the largest class over that of the smallest")

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A smaller split, in the order of the given one."""
        labels = train.labels.cpu()
        sizes = tail_sizes(torch.bincount(labels, minlength=train.num_classes).tolist(), self.ratio)
        order = torch.randperm(len(labels), generator=generator)
        kept = torch.cat([order[labels[order] == c][:size] for c, size in enumerate(sizes)]).sort().values
        return take(train, kept)


def tail_sizes(available: list[int], ratio: float) -> list[int]:
    """How many of each class are kept; a class without examples limits no other."""
    steps = max(1, len(available) - 1)
    falls = [ratio ** (-c / steps) for c in range(len(available))]
    largest = min((size / fall for size, fall in zip(available, falls, strict=True) if size), default=0.0)
    return [min(size, max(1, round(largest * fall))) for size, fall in zip(available, falls, strict=True)]
