"""The probe that samplers are handed: a metered forward pass without gradient. It holds observed labels only."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robuststream.contracts import Signals
from robuststream.data.stored import AnyBatches
from robuststream.training.companion import Companions, PoolCompanion
from robuststream.training.evaluation import chunk_size
from robuststream.training.ledger import Metered


class PoolProbe:
    """Signals of any examples of the pool, from plain images; the network is in train mode again afterwards."""

    def __init__(self, network: Metered, batches: AnyBatches, mode: Literal["eval", "train"], companions: Companions) -> None:
        self.network, self.batches, self.mode, self.companions = network, batches, mode, companions
        self.asked: list[tuple[int, Tensor]] = []  # (step, (m,) indices) since the diagnostics last looked

    def __call__(self, index: Tensor, mode: Literal["eval", "train"] | None = None) -> Signals:
        clock, ledger = self.network.clock, self.network.ledger
        previous = clock.to("probe")
        self.network.train((mode or self.mode) == "train")
        with torch.no_grad():
            logits = [
                self.network(self.batches.plain(part, self.network.scale)[0], ready=True)
                for part in index.split(chunk_size(index.device))
            ]
        self.network.train()
        signals = Signals.of(index, self.batches.labels[index], torch.cat(logits))
        self.asked.append((ledger.steps, index))
        clock.to(previous)
        return signals

    def companion(self, model: str = "") -> PoolCompanion:
        """See `contracts.Probe.companion`."""
        return self.companions.make(model)
