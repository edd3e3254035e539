"""Checkpoints: the whole state of a run, written beside, synced, renamed; read back without unpickling code."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robuststream import records
from robuststream.errors import UserError
from robuststream.training.provenance import source_hash
from robuststream.training.world import World

EVERY_SECONDS = 20.0
"""At an evaluation, a checkpoint is written if the last is older: what a kill can cost, and a rate that costs little."""


@dataclass
class Best:
    """The validation-best evaluation so far, and the weights at that moment."""

    step: int
    spent: float
    validation_accuracy: float
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """How far a run has come, beside what its world's parts know themselves."""

    due: int = 0  # the next evaluation is due at this many evaluations' share of the budget
    written: int = 0  # records written
    histograms: int = 0  # records with a histogram: one as soon as values are stored, one from the middle on, one at the end
    diverged: bool = False
    best: Best | None = None


def pack(world: World, progress: Progress) -> dict[str, Any]:
    """Everything that the next step depends on, as tensors and plain values."""
    return {
        "source": source_hash(),
        "network": world.bare.state_dict(),
        "optimizer": world.optimizer.state_dict(),
        "sampler": world.sampler.state_dict(),
        "learner": world.learner.state_dict(),
        "turned": world.train.turned,
        "draws": world.draws.state_dict(),
        "generators": {name: generator.get_state() for name, generator in world.generators.items()},
        "ledger": world.ledger.state_dict(),
        "clock": world.clock.state_dict(),
        "diagnostics": world.diagnostics.state_dict(),
        "progress": asdict(progress),
    }


def unpack(state: dict[str, Any], world: World) -> Progress:
    """The inverse of `pack`, into a world whose plug-ins have been started."""
    world.bare.load_state_dict(state["network"])
    world.optimizer.load_state_dict(state["optimizer"])
    world.sampler.load_state_dict(state["sampler"])
    world.learner.load_state_dict(state["learner"])
    if world.train.turned is not None:
        world.train.turned.copy_(state["turned"])
    world.draws.load_state_dict(state["draws"])
    for name, generator in world.generators.items():
        generator.set_state(state["generators"][name])
    world.ledger.load_state_dict(state["ledger"])
    world.clock.load_state_dict(state["clock"])
    world.diagnostics.load_state_dict(state["diagnostics"])
    best = state["progress"].pop("best")
    return Progress(**state["progress"], best=Best(**best) if best else None)


class Checkpoints:
    """Of one run folder. The state names how many records were written, so a resumed run cuts off what came after."""

    def __init__(self, folder: Path) -> None:
        self.path, self.records = folder / "checkpoint.pt", folder / "records.jsonl"
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, with the records cut to match it; None (and no records) where the run must begin anew."""
        state = self._read()
        try:
            kept = records.read_evaluations(self.records)[: state["progress"]["written"] if state else 0]
        except UserError:  # records that a fault has damaged: they are written again
            state, kept = None, []
        records.write_text(self.records, "".join(json.dumps(record) + "\n" for record in kept))
        return state

    def _read(self) -> dict[str, Any] | None:
        """A damaged file is put aside; a checkpoint of other code is not gone on from, since its bits would be neither's."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, weights_only=True)
        except Exception:  # whatever a torn or foreign file makes of the reader
            self.path.replace(self.path.with_suffix(".damaged"))
            return None
        return state if isinstance(state, dict) and state.get("source") == source_hash() else None

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        records.write_bytes(self.path, buffer.getvalue())
        self._last = time.monotonic()

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        if time.monotonic() - self._last >= EVERY_SECONDS:
            self.save(state())

    def remove(self) -> None:
        """Once the result is written."""
        self.path.unlink(missing_ok=True)
