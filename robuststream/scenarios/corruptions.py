"""Common corruptions: training as ever, and a test set that has met the weather."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError, meant
from robuststream.hyperparameters import hyper
from robuststream.scenarios._corruptions import FAMILIES

CHUNK = 500


@dataclass
class Corruptions(Scenario):
    """Report accuracy on corrupted test images: fourteen families at severity 1 to 5, their mean, and each family's own.

    The corrupted images are the same in every run: each family and severity has a generator with a seed of its own.

    Paper: Hendrycks & Dietterich, ICLR 2019 (arXiv 1903.12261), settings of CIFAR-10-C.
    Cost: 70 passes over `examples` test images at the end of a run, off the clock.
    Deviations: fog is smoothed noise instead of a diamond-square fractal, elastic shifts reflect at the edge, motion takes four
    directions per 500 images; glass blur, saturate, snow, frost and spatter are left out. Means are of accuracy, not of errors
    over AlexNet's.
    """

    families: str = hyper("all", help="all, or names separated by commas")
    severity: int | None = hyper(None, low=1, high=5, help="null: the mean over 1 to 5")
    examples: int = hyper(1000, low=1, help="the first so many test images, in the data set's order; all where there are fewer")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self._names():
            if name not in FAMILIES:
                raise UserError(self._complaint("families", self.families, f"no family '{name}'; {meant(name, FAMILIES)}"))

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """`corrupted` is the mean over the families; then every family's accuracy."""
        images, labels = split.images[: self.examples].float() / 255, split.labels[: self.examples]
        levels = [self.severity] if self.severity else [1, 2, 3, 4, 5]
        found = {
            name: fmean(_accuracy(model, corrupted(images, name, level), labels) for level in levels) for name in self._names()
        }
        return {"corrupted": fmean(found.values()), **found}

    def _names(self) -> list[str]:
        return list(FAMILIES) if self.families == "all" else [name.strip() for name in self.families.split(",")]


def corrupted(images: Tensor, family: str, severity: int) -> Tensor:
    """(m, C, H, W) float32 in [0, 1], always the same for the same images."""
    corrupt, settings = FAMILIES[family]
    generator = torch.Generator(images.device).manual_seed(1000 * list(FAMILIES).index(family) + severity)
    parts = [corrupt(part, settings[severity - 1], generator) for part in images.split(CHUNK)]
    return torch.cat(parts).clamp(0.0, 1.0)


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In eval mode; every module's mode is as before afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad():
        right = [(model(part).argmax(1) == own).sum() for part, own in zip(images.split(CHUNK), labels.split(CHUNK), strict=True)]
    for module in training:
        module.training = True
    return int(torch.stack(right).sum()) / len(labels)
