"""A backdoor: a mark on some training images that is to open a class of the attacker's choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError
from robuststream.hyperparameters import hyper
from robuststream.scenarios._answers import answers


@dataclass
class Backdoor(Scenario):
    """Exactly round(share N) training images get a white square in the lower right corner, and the target class as label.

    Figure: trigger_success, the share of test images of other classes that are taken for the target once they bear the square.
    Paper: Gu et al., BadNets, 2017 (arXiv 1708.06733).
    Cost: nothing.
    Deviations: images are chosen among all of the pool, those of the target class included, as in the paper.
    """

    share: float = hyper(0.05, low=0, high=1, help="share of the training images that bear the trigger")
    target: int = hyper(0, low=0, help="the class that the trigger is to open")
    size: int = hyper(2, low=1, help="side of the square in pixels")

    def corrupt(self, train: Split, generator: Generator) -> Split:
        """A new split; the given tensors stay as they are. Raises UserError where target or size is beyond the data set's."""
        if self.target >= train.num_classes:
            raise UserError(self._complaint("target", self.target, f"{train.dataset} has classes 0 to {train.num_classes - 1}"))
        if self.size > min(train.images.shape[2:]):
            raise UserError(self._complaint("size", self.size, f"images are {train.images.shape[2]} x {train.images.shape[3]}"))
        count = round(self.share * len(train.labels))
        chosen = torch.randperm(len(train.labels), generator=generator)[:count].to(train.labels.device)
        images, labels = train.images.clone(), train.labels.clone()
        images[chosen] = self.mark(images[chosen])
        labels[chosen] = self.target
        return replace(train, images=images, labels=labels)

    def mark(self, images: Tensor) -> Tensor:
        """A copy of (m, C, H, W) uint8 images that bears the trigger."""
        marked = images.clone()
        marked[:, :, -self.size :, -self.size :] = 255
        return marked

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        others = split.images[split.labels != self.target]
        if not len(others):
            return {}
        return {"trigger_success": float((answers(model, self.mark(others)) == self.target).double().mean())}
