"""Checkpoints: the whole state of a run, sealed with a checksum, two deep; read back without unpickling code."""

from __future__ import annotations

import hashlib
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
from robuststream.training.device import placed
from robuststream.training.provenance import source_hash
from robuststream.training.world import World

EVERY_SECONDS = 20.0
"""At an evaluation, a checkpoint is written if the last is older: what a kill can cost, and a rate that costs little."""

SHARE = 0.005
"""A checkpoint that took c seconds is followed by the next after c / SHARE at the earliest, however large the network."""

MOST, PACE = 0.02, 100e6
"""The first one, of unknown cost, waits until it is this share of the run at this many bytes a second, a slow disk's."""


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
        "scenario": world.scenario.state_dict(),
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
    world.scenario.load_state_dict(state["scenario"])
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
    """Of one run folder: the last two. Each names how many records were written, so a resumed run cuts off what came after."""

    def __init__(self, folder: Path, size: int = 0) -> None:
        """`size`: bytes that a checkpoint will have, about."""
        self.folder, self.records = folder, folder / "records.jsonl"
        self.path, self.older = folder / "checkpoint.pt", folder / "checkpoint-older.pt"
        self._last, self._pause = time.monotonic(), size / PACE / MOST

    def load(self) -> dict[str, Any] | None:
        """The newest saved state that is whole, with the records cut to match it; None (and no records) where there is none."""
        sound, _ = records.read_sound_lines(self.records)
        state, kept = None, 0
        for path in (self.path, self.older):
            state = _read(path)
            kept = state["progress"]["written"] if state else 0
            if state is not None and kept <= len(sound):
                break
            state, kept = None, 0  # its records were lost with the power: an older one may still have all of its own
        if self.records.exists():
            records.write_text(self.records, "".join(json.dumps(record) + "\n" for record in sound[:kept]))
        return state

    def keep_network(self, weights: dict[str, Tensor]) -> None:
        """The final weights, for whoever attacks the network or looks into it once the run is over."""
        content = _packed({name: value.cpu() for name, value in weights.items()})
        records.write_bytes(self.path.with_name(records.NETWORK), content)

    def save(self, state: dict[str, Any]) -> None:
        """The last one stays as the older; records first, since a checkpoint counts them."""
        records.sync(self.records)
        if self.path.exists():
            self.path.replace(self.older)
        records.write_bytes(self.path, _sealed(_packed(state)))

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """What it costs is measured whole, from gathering the state (which waits for the device) to the synced file."""
        began = time.monotonic()
        if began - self._last >= max(EVERY_SECONDS, self._pause):
            self.save(state())
            self._last = time.monotonic()
            self._pause = (self._last - began) / SHARE

    def remove(self) -> None:
        """Once the result is written."""
        for path in (self.path, self.older):
            path.unlink(missing_ok=True)


def _packed(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


_SEAL = b"robuststream checkpoint sha256 "


def _sealed(content: bytes) -> bytes:
    """A first line with the checksum of all that follows."""
    return _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _read(path: Path) -> dict[str, Any] | None:
    """A damaged file is put aside; a checkpoint of other code is not gone on from, since its bits would be neither's."""
    if not path.exists():
        return None
    try:
        seal, _, content = path.read_bytes().partition(b"\n")
        if seal != _SEAL + hashlib.sha256(content).hexdigest().encode():
            raise ValueError("torn")
        state = torch.load(io.BytesIO(content), map_location=placed, weights_only=True)
    except Exception:  # whatever a torn or foreign file makes of the reader
        path.replace(path.with_suffix(".damaged"))
        return None
    return state if isinstance(state, dict) and state.get("source") == source_hash() else None
