"""Adversarial training with projected gradient descent: what the field compares with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robuststream.hyperparameters import hyper
from robuststream.scenarios._adversarial import AdversarialTraining
from robuststream.scenarios._ball import anywhere, climb, misclassify


@dataclass
class AdversarialPGD(AdversarialTraining):
    """Learn from adversarial examples: the loss is climbed for K steps from a random point of the ball.

    Paper: Madry et al., ICLR 2018 (arXiv 1706.06083); a share below 1 mixes clean examples in, as Kurakin et al., ICLR 2017.
    Cost: K share n forwards and as many backwards to the images at every step (with clean signals share n forwards more).
    Deviations: the attack runs in eval mode and climbs cross-entropy, whatever the learner descends; the step length scales with
        eps and the number of steps.
    """

    steps: int = hyper(10, low=1, help="K, gradient steps of the attack")
    alpha: float | None = hyper(None, above=0.0, help="step length over eps; null is 2.5 / steps")

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        alpha = (self.alpha or 2.5 / self.steps) * self.radius
        start = anywhere(images, self.radius, self.generator_)
        return climb(model, images, start, misclassify(labels), eps=self.radius, alpha=alpha, steps=self.steps)
