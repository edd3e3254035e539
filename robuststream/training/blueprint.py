"""How a run's networks are made: from names, settings and a seed, for the shape and the statistics of the pool's images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from robuststream import registry
from robuststream.config import Recipe
from robuststream.contracts import Split
from robuststream.data.scale import Scale
from robuststream.models._build import Shape, build
from robuststream.models._whitening import Whitening, patch_covariance
from robuststream.training.ledger import Cost
from robuststream.training.precision import Precise

SAMPLE = 4096
"""Of images on disk, about so many are read for the channels' statistics; so many are enough for a patch's covariance."""


@dataclass(frozen=True)
class Blueprint:
    """What every network of a run shares. It holds no example and no label, so a sampler's companion may keep it."""

    recipe: Recipe
    shape: Shape  # (C, H, W)
    num_classes: int
    mean: Tensor  # (C,)
    std: Tensor  # (C,)
    device: torch.device
    patches: Tensor | None = None  # (D, D) covariance of small normalised patches, for networks that whiten them

    @staticmethod
    def of(recipe: Recipe, train: Split) -> Blueprint:
        """For the images of a training split."""
        shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
        every = max(1, len(train.rows) // SAMPLE)
        if train.stored is None:
            images, some = train.images, train.images[::every]
        else:
            images = some = train.stored.read(train.rows[::every].cpu()).permute(0, 3, 1, 2)
        mean, std = channel_statistics(images)
        blueprint = Blueprint(recipe, shape, train.num_classes, mean, std, train.labels.device)
        if not getattr(registry.load("models", recipe.model, nn.Module), "whitens", False):
            return blueprint
        return replace(blueprint, patches=patch_covariance(Scale(mean.view(-1, 1, 1), std.view(-1, 1, 1))(some.cpu())))

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
        for module in network.modules():
            if isinstance(module, Whitening) and self.patches is not None:
                module.fit(self.patches.to(self.device))
        recipe = self.recipe if compiled is None else self.recipe.model_copy(update={"compile": compiled})
        return Precise(network, recipe, self.device.type)

    def cost(self, model: str = "") -> Cost:
        """FLOPs per example, counted on an uncompiled copy; loads every kernel before the clock starts (rule 3)."""
        return _counted(self.recipe.model_dump_json(), self.shape, self.num_classes, self.device, model)

    def dummy(self) -> Tensor:
        """A mini-batch of black images."""
        return torch.zeros((self.recipe.batch_size, *self.shape), device=self.device)


LARGEST = 4096
"""Examples to count FLOPs on: any number gives the same per example, and a mistyped batch size should not cost a minute."""


@lru_cache(maxsize=16)
def _counted(recipe: str, shape: Shape, num_classes: int, device: torch.device, model: str) -> Cost:
    """Once per process: the runs of a study have one recipe."""
    mean, std = torch.zeros(shape[0]), torch.ones(shape[0])
    blueprint = Blueprint(Recipe.model_validate_json(recipe), shape, num_classes, mean, std, device)
    return Cost.of(blueprint.network(0, torch.Generator(device), model, compiled=False), blueprint.dummy()[:LARGEST])


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of (N, C, H, W) uint8 images in [0, 1]; a constant channel is left at its scale (1)."""
    levels = torch.arange(256, dtype=torch.float64) / 255.0
    counts = torch.stack([torch.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
    share = counts.cpu().double() / counts.cpu().sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    deviation = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()
