"""Poisoned inputs: some training images are adversarial examples before training begins."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from robuststream.contracts import Scenario, Split
from robuststream.hyperparameters import hyper
from robuststream.radius import radius
from robuststream.scenarios._adversarial import EPS_HELP
from robuststream.scenarios._ball import anywhere, climb, misclassify
from robuststream.scenarios._reference import educate, price

CHUNK = 512


@dataclass
class Poisoned(Scenario):
    """Exactly round(share N) training images are replaced once by adversarial examples of a reference network; labels stay.

    Paper: transfer: Papernot et al., 2016 (arXiv 1605.07277); as poison: Fowl et al., NeurIPS 2021 (arXiv 2106.10807).
    Cost: nothing of the run's budget. What the poisoner paid, a small network's training and the attack, is in the result.
    Deviations: the reference network is two strided convolutions, trained on the CPU so that arms of a seed get the same bytes.
    """

    share: float = hyper(0.5, low=0, high=1, help="share of the training images that is replaced")
    eps: str | float | None = hyper(None, help=EPS_HELP)
    steps: int = hyper(10, low=1, help="gradient steps of the attack, each 2.5 eps / steps long")
    epochs: int = hyper(5, low=1, help="epochs that the reference network is trained for, over at most 10,000 examples each")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None:
            radius(self.eps, "", type(self).__name__)

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A new split; the given tensors stay as they are. Images remain bytes, each moved by at most 255 eps, rounded down."""
        eps = radius(self.eps, train.dataset, type(self).__name__)
        chosen = torch.randperm(len(train.labels), generator=generator)[: round(self.share * len(train.labels))]
        network, seen = educate(train, self.epochs, generator)
        images = train.images.cpu().clone()
        fooled = 0
        for index in chosen.split(CHUNK):
            clean, labels = images[index].float() / 255, train.labels.cpu()[index]
            start = anywhere(clean, eps, generator)
            found = climb(network, clean, start, misclassify(labels), eps=eps, alpha=2.5 * eps / self.steps, steps=self.steps)
            images[index] = _bytes(found, images[index], eps)
            fooled += int((network(images[index].float() / 255).argmax(1) != labels).sum())
        image = images[:1].float() / 255
        flops = seen * price(network, image, to_images=False) + len(chosen) * self.steps * price(network, image, to_images=True)
        self._facts = {
            "poisoned": len(chosen),
            "fooled": fooled,
            "flops": flops,
            "hash": hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16],
        }
        return replace(train, images=images.to(train.images.device))

    def facts(self) -> dict[str, Any]:
        """Images replaced, how many of them the reference network gets wrong, the poisoner's FLOPs, a hash of all images."""
        return self._facts


def _bytes(attacked: Tensor, clean: Tensor, eps: float) -> Tensor:
    """(m, C, H, W) in [0, 1] as uint8, no byte further than 255 eps from the clean one."""
    reach = int(255 * eps + 1e-6)
    moved = (attacked * 255).round().int() - clean.int()
    return (clean.int() + moved.clamp(-reach, reach)).to(torch.uint8)
