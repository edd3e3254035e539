"""Robust accuracy (rule 11): attacks one after the other on a fixed part of the test set, each on what the earlier ones left."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robuststream.attacks import FEWEST_CLASSES, PARTS, STANDARD, Strength, attack, evaluating
from robuststream.config import Robust, RunSettings
from robuststream.contracts import Split
from robuststream.data.batches import Batches
from robuststream.data.splits import evenly_spaced, splits_of
from robuststream.errors import UserError
from robuststream.training.blueprint import Blueprint
from robuststream.training.precision import Precise
from robuststream.training.streams import stream_seed
from robuststream.training.suspicion import network_flags, square_flag

CHUNK = 250
"""Examples attacked at a time: the authors' number. Part of what decides the bits, so it is the same on every device."""


def measure(
    network: nn.Module,
    test: Split,
    robust: Robust,
    seed: int,
    strength: Strength = STANDARD,
    known: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """How many of the chosen test examples stay correct under attack, as a result records it (see `records`).

    Worst case: an example counts as correct after an attack if no attack so far has fooled the network on it. `known` are
    earlier measurements of the same network: one of the same eps and examples is gone on with. The network stays as it was.
    """
    rows = evenly_spaced(len(test.labels), robust.examples).to(test.labels.device)
    subset = hashlib.sha256(test.rows[rows].cpu().numpy().tobytes()).hexdigest()[:16]
    images, labels = Batches(test).plain(rows)
    for old in known:
        if (old["eps"], old["subset"]) == (robust.eps, subset):
            return press(old, network, images, labels, robust.attacks, seed, strength)
    standing = correct(network, images, labels)
    found = {
        "eps": robust.eps,
        "examples": len(rows),
        "of": len(test.labels),
        "subset": subset,
        "clean": int(standing.sum()),
        "standing": as_text(standing),
        "attacks": {},
        "seconds": 0.0,
        "flags": network_flags(network, images[standing][:CHUNK], labels[standing][:CHUNK]) if standing.any() else [],
    }
    return press(found, network, images, labels, robust.attacks, seed, strength)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Survivors come in every number, and each would be compiled anew. What compiles is not loaded for this alone: it is slow."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@_uncompiled()
def press(
    found: dict[str, Any],
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[str],
    seed: int,
    strength: Strength = STANDARD,
) -> dict[str, Any]:
    """A measurement with further attacks on the examples that still stand in it; those that it has are not repeated."""
    standing, flags, counts = as_mask(found["standing"], labels.device), list(found["flags"]), dict(found["attacks"])
    began = time.perf_counter()
    for name in attacks:
        if name in counts:
            continue
        for part in PARTS.get(name, (name,)):
            before = int(standing.sum())
            standing = standing & ~fooled(part, network, images, labels, standing, found["eps"], seed, strength)
            after_gradients = part == "square" and (counts or name != part)
            if after_gradients and (flag := square_flag(before, int(standing.sum()), len(labels))):
                flags.append(flag)
        counts[name] = int(standing.sum())
    seconds = found["seconds"] + time.perf_counter() - began
    return {**found, "standing": as_text(standing), "attacks": counts, "seconds": seconds, "flags": flags}


def fooled(
    name: str,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    among: Tensor,
    eps: float,
    seed: int,
    strength: Strength = STANDARD,
) -> Tensor:
    """(m,) bool: on which of the examples `among` (m,) an attack makes the network err. Judged on the images that it returns."""
    answer = torch.zeros_like(among)
    for place, chunk in enumerate(among.nonzero().flatten().split(CHUNK)):
        tried = attack(name, network, images[chunk], labels[chunk], eps, seed + place, strength)
        answer[chunk] = ~correct(network, tried, labels[chunk])
    return answer


def correct(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(m,) bool: the most probable class is the label; in eval mode, with every module's mode as before."""
    with evaluating(network), torch.no_grad():
        found = [network(part).argmax(1) for part in images.split(CHUNK)]
    return torch.cat(found) == labels


def possible(robust: Robust, num_classes: int) -> None:
    """Refuse before anything is trained what no attack could do afterwards."""
    if num_classes < FEWEST_CLASSES and any("apgd-t" in PARTS.get(name, (name,)) for name in robust.attacks):
        raise UserError(
            f"robust.attacks={','.join(robust.attacks)} is not possible (autoattack's targeted loss needs {FEWEST_CLASSES} "
            f"classes, these data have {num_classes}; use apgd-ce and square)"
        )


def revive(run: RunSettings, weights: Path, data_hash: str) -> tuple[Precise, Split]:
    """The network that a finished run left in a file of weights, and the run's test split.

    Raises UserError where the file is damaged or of another network, or the data are not those with `data_hash`.
    """
    recipe, device = run.recipe, torch.device(run.device)
    splits = splits_of(recipe, stream_seed(run.seed, "split"), device)
    if splits.data_hash != data_hash:
        raise UserError(f"the data of {recipe.data} have changed since the run was measured; run its study again")
    network = Blueprint.of(recipe, splits.train).network(0, torch.Generator(device))
    try:
        network.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    except Exception as error:  # whatever a torn or foreign file makes of the reader
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{weights} does not hold this run's network ({reason}); delete its folder and run it again") from None
    return network, splits.test


def as_text(standing: Tensor) -> str:
    """A digit for every example: 1 where it is still classified correctly."""
    return "".join("1" if one else "0" for one in standing.tolist())


def as_mask(standing: str, device: torch.device) -> Tensor:
    return torch.tensor([digit == "1" for digit in standing], dtype=torch.bool, device=device)
