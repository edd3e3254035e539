"""Wrong labels: an exact number of observed labels is replaced once, before training. N examples, K classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Generator

from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError
from robuststream.hyperparameters import hyper
from robuststream.scenarios._noise_classes import asymmetric, check_map, pair, semantic, symmetric
from robuststream.scenarios._noise_embedding import margin, proto
from robuststream.scenarios._noise_files import HUMAN, from_file, human, human_file
from robuststream.scenarios._noise_instance import instance
from robuststream.scenarios._noise_shared import Kind

KINDS = {
    "symmetric": Kind(symmetric, ("rate", "inclusive")),
    "pair": Kind(pair, ("rate",)),
    "asymmetric": Kind(asymmetric, ("rate", "map")),
    "semantic": Kind(semantic, ("rate", "map")),
    "instance": Kind(instance, ("rate",)),
    "proto": Kind(proto, ("rate", "file", "key")),
    "margin": Kind(margin, ("rate", "file", "key")),
    "file": Kind(from_file, ("file", "key")),
    **{name: Kind(human, ("key",)) for name in HUMAN},
}
"""Every kind of noise; a new one is a function and a line here."""


@dataclass
class LabelNoise(Scenario):
    """Wrong labels at an exact rate: by class, by picture, along the shape of the data, by people, or from the user's file.

    Exactly round(rate x N) examples flip, to a class that is wrong; asymmetric and semantic: round(rate x examples in mapped
    classes). Under one seed the flips of a lower rate are among those of a higher one (not so of semantic and instance noise,
    where the rate changes who flips). Random numbers come from the CPU generator alone.

    Paper: symmetric and asymmetric as in Patrini et al., CVPR 2017 (arXiv 1609.03683); pair as in Han et al., NeurIPS 2018
    (arXiv 1804.06872), there by chance per example, here by exact count; instance as in Xia et al., NeurIPS 2020
    (arXiv 2006.07836), algorithm 2; semantic, proto and margin as in Wojtulewicz, Duda, Rutkowski, Label Noise Has a Shape, 2026;
    cifar10n and cifar100n are the labels of Wei et al., ICLR 2022 (arXiv 2110.12088).
    Cost: one permutation of the pool, once; proto and margin without a file train an autoencoder, once per pool and seed.
    Deviations: proto and margin embed by a small dense autoencoder unless 'file' names an embedding of the user's own.
    """

    noise: str = hyper("symmetric", choices=tuple(KINDS), help="which labels become which")
    rate: float = hyper(0.4, low=0, high=1, help="share of examples that flip; not read where labels come from a file")
    inclusive: bool = hyper(False, help="symmetric: draw from all K classes; the realised rate is then about rate (K-1)/K")
    map: str | dict[Any, Any] | None = hyper(
        None,
        help="asymmetric: a shipped map's name or {class: class}; semantic: {class: [class, ...]}; null belongs to the data set",
    )
    file: str | None = hyper(
        None,
        help="file: labels as .npy, .npz or .txt; proto, margin: an embedding as .npy or .npz, null trains an autoencoder; "
        "one row per example of the data set's training order",
    )
    key: str | None = hyper(None, help="the array's name inside an .npz; cifar10n: worse_label, aggre_label, random_label1 to 3")

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
        if self.key is not None and self.file is None and self.noise not in HUMAN:
            raise UserError(self._complaint("key", self.key, "it names an array of 'file', and there is none"))
        check_map(self.map, self.noise)

    def fingerprint(self) -> str:
        path = human_file(self.noise) if self.noise in HUMAN else Path(self.file or "").expanduser()
        return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else ""

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A new split with some observed labels replaced; the given tensors stay as they are. Raises UserError."""
        if train.num_classes < 2 and self.noise != "file":
            raise UserError(f"LabelNoise: {train.dataset} has {train.num_classes} class, so no label can be wrong; at least 2")
        labels = KINDS[self.noise].rewrite(train.labels.cpu().clone(), train, self, generator)
        return replace(train, labels=labels.to(train.labels.device))
