"""Adversarial training in one step: fast, and strong enough where the step begins anywhere in the ball."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robuststream.hyperparameters import hyper
from robuststream.scenarios._adversarial import AdversarialTraining
from robuststream.scenarios._ball import anywhere, climb, misclassify


@dataclass
class AdversarialFGSM(AdversarialTraining):
    """Learn from adversarial examples of one gradient step from a random point of the ball (FGSM-RS).

    Paper: Wong, Rice, Kolter, Fast is better than free, ICLR 2020 (arXiv 2001.03994); the step: Goodfellow et al., ICLR 2015.
    Cost: share n forwards and as many backwards to the images at every step (with clean signals share n forwards more).
    Deviations: the attack runs in eval mode; the random start is cut to [0, 1] before the step, as the authors' code does.
    """

    alpha: float = hyper(1.25, above=0.0, help="step length over eps")

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        start = anywhere(images, self.radius, self.generator_)
        alpha = self.alpha * self.radius
        return climb(model, images, start, misclassify(labels), eps=self.radius, alpha=alpha, steps=1)
