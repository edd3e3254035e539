"""Free adversarial training: one backward pass moves the weights and the perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from robuststream.contracts import Split
from robuststream.hyperparameters import hyper
from robuststream.scenarios._adversarial import AdversarialTraining


@dataclass
class AdversarialFree(AdversarialTraining):
    """Learn every mini-batch m times over; each backward pass moves the weights, and the perturbation for the next time.

    Paper: Shafahi et al., NeurIPS 2019 (arXiv 1904.12843), algorithm 1. The perturbation is carried on to the next mini-batch.
    Cost: no pass beside those of training, each with the gradient at the images; m steps for every draw, so under one budget
        the sampler chooses m times less often (with clean signals share n forwards more for every draw).
    Deviations: of a mini-batch's m lessons the sampler observes the last.
    """

    turns: int = hyper(8, low=1, help="m, optimizer steps on every mini-batch")

    @property
    def replays(self) -> int:
        return self.turns

    def start(self, train: Split, generator: Generator) -> None:
        super().start(train, generator)
        # Of as many examples as have ever been perturbed at once: mini-batches may differ in size.
        self.delta_ = torch.zeros(0, *train.images.shape[1:], device=self.home)
        self._turn = 0

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """A leaf that requires a gradient, for `learned`."""
        if self._turn == 0:
            self._chosen = self._choose(images)
        self._turn = (self._turn + 1) % self.turns
        self._clean_logits = None
        if not len(self._chosen):
            return images
        clean = images[self._chosen]
        if self.signals == "clean" and self._turn == 0:
            self._clean_logits = self._logits(model, clean)
        missing = len(clean) - len(self.delta_)
        if missing > 0:
            self.delta_ = torch.cat([self.delta_, self.delta_.new_zeros(missing, *clean.shape[1:])])
        moved = clean + self.delta_[: len(clean)]
        attacked = moved.clamp(0, 1)
        self._inside = attacked == moved
        return images.index_copy(0, self._chosen, attacked).requires_grad_()

    def learned(self, gradient: Tensor) -> None:
        """Move the perturbation by eps along the gradient's sign; a pixel that was cut to [0, 1] has none."""
        delta = self.delta_[: len(self._chosen)]
        uphill = gradient[self._chosen].sign() * self._inside
        delta.add_(uphill, alpha=self.radius).clamp_(-self.radius, self.radius)
