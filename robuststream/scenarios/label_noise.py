"""Wrong labels: an exact number of observed labels is replaced once, before training. N examples, K classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError, meant
from robuststream.hyperparameters import hyper

MAPS: dict[str, dict[int, int]] = {
    # truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog [Patrini et al., CVPR 2017]
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
    # 2 -> 7, 3 -> 8, 5 <-> 6, 7 -> 1 [Patrini et al., CVPR 2017]
    "mnist": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1},
}
"""The usual class-dependent flips, by the data set they belong to."""


def symmetric(labels: Tensor, train: Split, noise: LabelNoise, generator: Generator) -> Tensor:
    """Flip to any of the K-1 wrong classes, or, inclusively, to any of the K classes (some then keep their own)."""
    first = 0 if noise.inclusive else 1
    chosen = _choose(torch.arange(len(labels)), noise.rate, generator)
    # One offset per example, flipped or not: under one seed a higher rate then keeps every flip of a lower one.
    offset = torch.randint(first, train.num_classes, labels.shape, generator=generator)
    labels[chosen] = (labels + offset)[chosen] % train.num_classes
    return labels


def pair(labels: Tensor, train: Split, noise: LabelNoise, generator: Generator) -> Tensor:
    """Flip to the next class, c -> (c + 1) mod K."""
    chosen = _choose(torch.arange(len(labels)), noise.rate, generator)
    labels[chosen] = (labels[chosen] + 1) % train.num_classes
    return labels


def asymmetric(labels: Tensor, train: Split, noise: LabelNoise, generator: Generator) -> Tensor:
    """Flip by a map of classes; the rate is of the examples in mapped classes, the others stay as they are."""
    destination = torch.arange(train.num_classes)
    for source, to in _map_for(noise.map, train).items():
        destination[source] = to
    mapped = (destination[labels] != labels).nonzero().squeeze(1)
    chosen = _choose(mapped, noise.rate, generator)
    labels[chosen] = destination[labels[chosen]]
    return labels


def from_file(labels: Tensor, train: Split, noise: LabelNoise, generator: Generator) -> Tensor:
    """Take the user's labels, one per row of the data set's own training order."""
    given = _read(Path(noise.file or "").expanduser(), noise.key)
    if len(given) != train.total:
        raise UserError(
            f"LabelNoise: {noise.file} holds {len(given)} labels, but {train.dataset} has {train.total} training examples: "
            "one label per row of the data set's own order is needed"
        )
    foreign = np.flatnonzero((given < 0) | (given >= train.num_classes))
    if len(foreign):
        row = int(foreign[0])
        raise UserError(
            f"LabelNoise: {noise.file} has class {given[row]} in row {row}, but {train.dataset} has 0 to {train.num_classes - 1}"
        )
    return torch.from_numpy(given.astype(np.int64))[train.rows.cpu()]


class _Kind(NamedTuple):
    """How one kind of noise rewrites a CPU copy of the labels (N,) int64, and which hyperparameters it reads."""

    rewrite: Callable[[Tensor, Split, LabelNoise, Generator], Tensor]
    reads: tuple[str, ...]


KINDS = {
    "symmetric": _Kind(symmetric, ("rate", "inclusive")),
    "pair": _Kind(pair, ("rate",)),
    "asymmetric": _Kind(asymmetric, ("rate", "map")),
    "file": _Kind(from_file, ("file", "key")),
}
"""Every kind of noise; a new one (prototype, margin, instance-dependent) is a function and a line here."""


@dataclass
class LabelNoise(Scenario):
    """Wrong labels at an exact rate: symmetric, pair, asymmetric, or the user's own from a file.

    Exactly round(rate x N) examples flip, to a class that is wrong; asymmetric: round(rate x examples in mapped classes).
    Under one seed the flips of a lower rate are among those of a higher one. Random numbers come from the CPU generator alone.

    Paper: symmetric and asymmetric as in Patrini et al., CVPR 2017 (arXiv 1609.03683); pair as in Han et al., NeurIPS 2018
    (arXiv 1804.06872), there by chance per example, here by exact count.
    Cost: one permutation of the pool, once.
    """

    noise: str = hyper("symmetric", choices=tuple(KINDS), help="which labels become which")
    rate: float = hyper(0.4, low=0, high=1, help="share of examples that flip; not read by noise: file")
    inclusive: bool = hyper(False, help="symmetric: draw from all K classes; the realised rate is then about rate (K-1)/K")
    map: str | dict[Any, Any] | None = hyper(
        None, help="asymmetric: a shipped map's name or {class: class}; null is the map that belongs to the data set"
    )
    file: str | None = hyper(None, help="file: labels as .npy, .npz or .txt, one per row of the data set's training order")
    key: str | None = hyper(None, help="file: the array's name inside an .npz")

    def __post_init__(self) -> None:
        super().__post_init__()
        reads = KINDS[self.noise].reads
        for field in self.fields():
            value = getattr(self, field.name)
            if field.name not in ("noise", *reads) and value != field.default:
                readers = " | ".join(name for name, kind in KINDS.items() if field.name in kind.reads)
                raise UserError(self._complaint(field.name, value, f"noise: {self.noise} does not read it; {readers} does"))
        if self.noise == "file" and not self.file:
            raise UserError("LabelNoise: noise: file needs 'file', the path of the labels (.npy, .npz or .txt)")
        if isinstance(self.map, str) and self.map not in MAPS:
            raise UserError(self._complaint("map", self.map, f"no such map; {meant(self.map, MAPS)}; or a mapping"))
        if isinstance(self.map, dict):
            _classes(self.map)

    def fingerprint(self) -> str:
        path = Path(self.file or "").expanduser()
        return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if self.file and path.is_file() else ""

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A new split with some observed labels replaced; the given tensors stay as they are. Raises UserError."""
        if train.num_classes < 2 and self.noise != "file":
            raise UserError(f"LabelNoise: {train.dataset} has {train.num_classes} class, so no label can be wrong; at least 2")
        labels = KINDS[self.noise].rewrite(train.labels.cpu().clone(), train, self, generator)
        return replace(train, labels=labels.to(train.labels.device))


def _choose(candidates: Tensor, rate: float, generator: Generator) -> Tensor:
    """Exactly round(rate x M) of the (M,) candidates, without repeats (Python's rounding: a half goes to the even number)."""
    order = torch.randperm(len(candidates), generator=generator)
    return candidates[order[: round(rate * len(candidates))]]


def _map_for(given: str | dict[Any, Any] | None, train: Split) -> dict[int, int]:
    """The map in force, with every class inside 0..K-1. Raises UserError."""
    if isinstance(given, dict):
        classes = _classes(given)
    else:
        name = given or train.dataset
        if name not in MAPS:
            raise UserError(
                f"LabelNoise: no asymmetric map is known for data set '{name}'; {meant(name, MAPS)}; "
                "name one of them as 'map', or give {class: class}"
            )
        classes = MAPS[name]
    outside = sorted(c for c in {*classes, *classes.values()} if c >= train.num_classes)
    if outside:
        raise UserError(f"LabelNoise: map names class {outside[0]}, but {train.dataset} has 0 to {train.num_classes - 1}")
    return classes


def _classes(given: dict[Any, Any]) -> dict[int, int]:
    """A map with whole numbers on both sides; JSON and `key=value` spell a class as text, which is accepted."""
    rule = "a mapping {class: class} of whole numbers, none to itself"
    if not given:
        raise UserError(f"LabelNoise: map={given} is empty (allowed: {rule})")
    classes: dict[int, int] = {}
    for link in given.items():
        if not all(isinstance(c, (int, str)) and not isinstance(c, bool) and str(c).isdecimal() for c in link):
            raise UserError(f"LabelNoise: map has {link[0]!r}: {link[1]!r} (allowed: {rule})")
        source, to = int(link[0]), int(link[1])
        if source == to:
            raise UserError(f"LabelNoise: map sends class {source} to itself (allowed: {rule})")
        if source in classes:
            raise UserError(f"LabelNoise: map names class {source} twice (allowed: {rule})")
        classes[source] = to
    return classes


def _read(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    """(M,) whole numbers from a file. Raises UserError where it is missing, does not parse or holds something else."""
    if not path.is_file():
        raise UserError(f"LabelNoise: there is no file {path}")
    if path.suffix not in (".npy", ".npz", ".txt"):
        raise UserError(f"LabelNoise: {path} is neither .npy, .npz nor .txt")
    if key is not None and path.suffix != ".npz":
        raise UserError(f"LabelNoise: key='{key}' is for .npz files, and {path} is none; leave 'key' out")
    try:
        labels = _array(path, key)
    except UserError:
        raise
    except Exception as error:  # whatever a torn or foreign file makes of the reader
        reason = " ".join(str(error).split())
        raise UserError(f"LabelNoise: {path} does not parse as plain whole numbers: {reason}") from None
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"LabelNoise: {path} holds {labels.dtype} of shape {labels.shape}, not one row of whole numbers")
    return labels


def _array(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    if path.suffix == ".txt":
        return np.array([int(line) for line in path.read_text().split()], dtype=np.int64)
    # Pickles run code when they are read, and labels need none.
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if key not in loaded.files:
            complaint = "needs 'key', the array's name" if key is None else f"has no array '{key}'"
            raise UserError(f"LabelNoise: {path} {complaint}; {meant(key or '', loaded.files)}")
        return loaded[key]
