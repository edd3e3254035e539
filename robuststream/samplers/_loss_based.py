"""What LB and NLB share: the probabilities of a mini-batch are set to a function of its losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import LOSS_CEILING, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._pod import PoD


@dataclass
class LossBased(PoD):
    """Write raw values of the mini-batch beside normalised ones, then normalise all: the source of LB's chaotic behaviour."""

    norm: str = hyper(
        "literal",
        choices=("literal", "within_batch"),
        help="as on the slides, or the batch to sum 1 first as in the group's code",
        search=("literal", "within_batch"),
    )

    def largest_sum(self) -> float:
        most = max(self.pool.batch_size, self.looked_at_again)
        return LOSS_CEILING ** max(1.0, self.temper) * most if self.norm == "literal" else 1.0

    def store(self, signals: Signals) -> None:
        values = self.tempered(signals).double()
        if self.norm == "within_batch":
            total = sum_of_distinct(signals.index, values)
            values = torch.where(total > 0, values / total, values)
        self.write(signals.index, values)


def sum_of_distinct(index: Tensor, values: Tensor) -> Tensor:
    """() sum of (m,) values over the distinct indices, each with its largest value: the mini-batch as a set."""
    order = values.argsort(stable=True)
    order = order[index[order].argsort(stable=True)]  # by index, and within one index by value
    index, values = index[order], values[order]
    last = torch.ones_like(index, dtype=torch.bool)
    last[:-1] = index[1:] != index[:-1]
    return torch.where(last, values, 0.0).sum()
