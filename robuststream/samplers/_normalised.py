"""The older streaming methods: values are probabilities of drawing (PoD), normalised over the whole pool after every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robuststream.contracts import Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._streaming import Streaming


@dataclass
class Normalised(Streaming):
    """Write raw values of the mini-batch beside normalised ones, then normalise all: the source of LB's chaotic behaviour."""

    norm: str = hyper(
        "literal",
        choices=("literal", "within_batch"),
        help="as on the slides, or the batch to sum 1 first as in the group's code",
    )

    def store(self, signals: Signals) -> None:
        super().store(signals)
        table = self.values_.table
        if self.norm == "within_batch":
            # Repeats count once: the mini-batch is the set of its examples.
            seen = torch.zeros_like(table).index_fill_(0, signals.index, 1.0)
            batch_total = (table * seen).sum()
            scale = torch.where(batch_total > 0, 1.0 / batch_total, torch.ones_like(batch_total))
            table.mul_(torch.where(seen > 0, scale, 1.0))
        self.values_.normalise()
