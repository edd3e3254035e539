"""How a run's networks are made: from names, settings and a seed, for the shape and the statistics of the pool's images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Split
from robuststream.models._build import Shape, build
from robuststream.training.ledger import Cost
from robuststream.training.precision import Precise


@dataclass(frozen=True)
class Blueprint:
    """What every network of a run shares. It holds no example and no label, so a sampler's companion may keep it."""

    recipe: Recipe
    shape: Shape  # (C, H, W)
    num_classes: int
    mean: Tensor  # (C,)
    std: Tensor  # (C,)
    device: torch.device

    @staticmethod
    def of(recipe: Recipe, train: Split) -> Blueprint:
        """For the images of a training split."""
        shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
        return Blueprint(recipe, shape, train.num_classes, *channel_statistics(train.images), train.images.device)

    def network(self, init_seed: int, dropout: torch.Generator, model: str = "", compiled: bool | None = None) -> Precise:
        """A freshly initialised network: the recipe's, or another one by name with its defaults."""
        settings: dict[str, Any] = {} if model else self.recipe.model_settings
        network = build(
            model or self.recipe.model,
            settings,
            shape=self.shape,
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            init_seed=init_seed,
            dropout_generator=dropout,
            device=self.device,
        )
        recipe = self.recipe if compiled is None else self.recipe.model_copy(update={"compile": compiled})
        return Precise(network, recipe, self.device.type)

    def cost(self, images: Tensor, model: str = "") -> Cost:
        """FLOPs per example, counted on an uncompiled copy; loads every kernel before the clock starts (rule 3)."""
        return Cost.of(self.network(0, torch.Generator(self.device), model, compiled=False), images)

    def dummy(self) -> Tensor:
        """A mini-batch of black images."""
        return torch.zeros((self.recipe.batch_size, *self.shape), device=self.device)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of (N, C, H, W) uint8 images in [0, 1]; a constant channel is left at its scale (1)."""
    levels = torch.arange(256, dtype=torch.float64) / 255.0
    counts = torch.stack([torch.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
    share = counts.cpu().double() / counts.cpu().sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    deviation = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()
