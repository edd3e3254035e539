"""Duplicates: part of the pool is copies of the rest, as in data that were gathered twice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from robuststream.contracts import Scenario, Split
from robuststream.hyperparameters import hyper
from robuststream.scenarios._take import take


@dataclass
class Duplicates(Scenario):
    """Put copies into exactly round(share x N) places of the pool, each of an example drawn uniformly from those that stay.

    N stays the same, so that a budget buys the same; what shrinks is the number of distinct examples. At least one stays.

    Paper: none; Lee et al., ACL 2022 (arXiv 2107.06499), for what duplicates do to learning.
    Cost: one permutation of the pool, once.
    """

    share: float = hyper(0.5, low=0, below=1, help="share of the pool that repeats the rest")

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A split of the same size, in which the places of the copies are drawn as well."""
        size = len(train.labels)
        order = torch.randperm(size, generator=generator)
        copies = min(round(self.share * size), size - 1)
        places = torch.arange(size)
        originals = order[copies:]
        places[order[:copies]] = originals[torch.randint(len(originals), (copies,), generator=generator)]
        return take(train, places)
