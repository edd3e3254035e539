"""The probe that samplers are handed: a metered forward pass without gradient. It holds observed labels only."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robuststream.contracts import Signals
from robuststream.data.stored import AnyBatches
from robuststream.training.companion import Companions, PoolCompanion
from robuststream.training.evaluation import chunks
from robuststream.training.ledger import Metered
from robuststream.training.reuse import Seen


class PoolProbe:
    """Signals of any examples of the pool, from plain images; the network is in train mode again afterwards."""

    def __init__(self, network: Metered, batches: AnyBatches, mode: Literal["eval", "train"], companions: Companions) -> None:
        self.network, self.batches, self.mode, self.companions = network, batches, mode, companions
        self.seen: Seen | None = None  # the last pass of mode "lesson"
        self.asked: list[tuple[int, Tensor]] = []  # (step, (m,) indices) since the diagnostics last looked

    def __call__(self, index: Tensor, mode: Literal["eval", "train", "lesson"] | None = None) -> Signals:
        clock, ledger = self.network.clock, self.network.ledger
        previous = clock.to("probe")
        if mode == "lesson":
            return self._lesson(index, previous)
        self.network.train((mode or self.mode) == "train")
        with torch.no_grad():
            logits = [
                self.network(self.batches.plain(part, self.network.scale)[0], ready=True) for part in chunks(index, self.batches)
            ]
        self.network.train()
        signals = Signals.of(index, self.batches.labels.index_select(0, index), torch.cat(logits))
        self.asked.append((ledger.steps, index))
        clock.to(previous)
        return signals

    def _lesson(self, index: Tensor, previous: str) -> Signals:
        """The training forward pass over (m,) candidates, kept for the step that learns from some of them."""
        network = self.network
        images, labels = self.batches.fetch(index, network.scale)
        network.ledger.charge("probe", len(index), backward=False)
        self.seen = Seen(network.network, images)
        self.asked.append((network.ledger.steps, index))
        signals = Signals.of(index, labels, self.seen.logits)
        network.clock.to(previous)
        return signals

    def lesson(self, places: Tensor) -> tuple[Seen, Tensor]:
        """What answers for the candidates at (n,) places as the network would, and their images; their backward is charged."""
        seen, self.seen = self.seen, None
        assert seen is not None, "a Batch has places, but its draw did not probe in mode 'lesson'"
        self.network.ledger.backwards += len(places)
        return seen, seen.keep(places)

    def companion(self, model: str = "") -> PoolCompanion:
        """See `contracts.Probe.companion`."""
        return self.companions.make(model)
