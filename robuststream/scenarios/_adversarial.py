"""What all adversarial training shares: the ball, which examples of a mini-batch are perturbed, what the sampler sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from robuststream.attacks import evaluating
from robuststream.contracts import Lesson, Scenario, Split
from robuststream.hyperparameters import hyper
from robuststream.radius import radius

EPS_HELP = "radius of the ball, as 8/255 or a number; null is the usual one of the data set"


@dataclass
class AdversarialTraining(Scenario):
    """Exactly round(share n) examples of every mini-batch, chosen at random, are learned from as adversarial examples.

    A subclass says in `attack` how. The attack runs in eval mode, so that no running statistic is moved by it.
    """

    eps: str | float | None = hyper(None, help=EPS_HELP)
    share: float = hyper(1.0, low=0, high=1, help="share of every mini-batch that is perturbed")
    signals: str = hyper(
        "adversarial",
        choices=("adversarial", "clean"),
        help="what the sampler observes of perturbed examples: the training forward, or, for a forward more, the clean images",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None:
            radius(self.eps, "", type(self).__name__)

    def start(self, train: Split, generator: Generator) -> None:
        super().start(train, generator)
        self.radius = radius(self.eps, train.dataset, type(self).__name__)

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """(m, C, H, W) clean images, all to be perturbed, and their (m,) labels to the adversarial examples."""
        raise NotImplementedError

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The images with the chosen ones replaced. What `learn` needs to know of them is kept for it."""
        self._chosen, self._clean_logits = self._choose(images), None
        if not len(self._chosen):
            return images
        clean, labels = images[self._chosen], labels[self._chosen]
        with evaluating(model):
            attacked = self.attack(model, clean, labels)
        if self.signals == "clean":
            self._clean_logits = self._logits(model, clean)
        return images.index_copy(0, self._chosen, attacked)

    def learn(self, model: nn.Module, images: Tensor, labels: Tensor) -> Lesson:
        return self._as_observed(super().learn(model, images, labels))

    def _choose(self, images: Tensor) -> Tensor:
        """(m,) int64 positions in the mini-batch."""
        n = len(images)
        if self.share == 1.0:
            return torch.arange(n, device=images.device)
        return torch.randperm(n, generator=self.generator_, device=images.device)[: round(self.share * n)]

    def _logits(self, model: nn.Module, clean: Tensor) -> Tensor:
        """(m, K) of clean images, in eval mode like the attack."""
        with evaluating(model), torch.no_grad():
            return model(clean)

    def _as_observed(self, lesson: Lesson) -> Lesson:
        """The lesson with the logits that the sampler is to see."""
        if self._clean_logits is None:
            return lesson
        return replace(lesson, shown=lesson.logits.detach().index_copy(0, self._chosen, self._clean_logits))
