"""TRADES: accuracy and robustness as two terms with a price between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robuststream.attacks import evaluating
from robuststream.contracts import Lesson, Scenario
from robuststream.hyperparameters import hyper
from robuststream.scenarios._adversarial import AdversarialTraining
from robuststream.scenarios._ball import climb

START = 0.001
"""Deviation of the normal noise that the attack begins with: at the image itself the divergence has no gradient."""


@dataclass
class AdversarialTRADES(AdversarialTraining):
    """Learn clean examples, and that their neighbours get the same answer: cross-entropy + beta KL(clean || adversarial).

    Paper: Zhang et al., ICML 2019 (arXiv 1901.08573), equation 5; the attack raises the same divergence for K steps.
    Cost: (K + 1) share n forwards and K share n backwards to the images at every step, and share n forwards and backwards
        more in the training pass, which sees the clean and the adversarial images. Clean signals come free.
    Deviations: clean probabilities are computed once for an attack (the released code: at each of its steps, to the same
        numbers). With share < 1 the second term is of the perturbed examples alone. The step length scales with eps.
    """

    beta: float = hyper(6.0, low=0, help="price of the second term")
    steps: int = hyper(10, low=1, help="K, gradient steps of the attack")
    alpha: float | None = hyper(None, above=0.0, help="step length over eps; null is 2.5 / steps")

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The images untouched: the adversarial examples are kept for `learn`, which needs both."""
        self._chosen = self._choose(images)
        self._attacked = images[self._chosen]
        if len(self._chosen):
            with evaluating(model):
                self._attacked = self.attack(model, self._attacked, labels[self._chosen])
        return images

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            clean = model(images).softmax(1)
        noise = torch.empty_like(images).normal_(generator=self.generator_)
        alpha = (self.alpha or 2.5 / self.steps) * self.radius

        def divergence(logits: Tensor) -> Tensor:
            return F.kl_div(logits.log_softmax(1), clean, reduction="sum")

        return climb(model, images, images + START * noise, divergence, eps=self.radius, alpha=alpha, steps=self.steps)

    def learn(self, model: nn.Module, images: Tensor, labels: Tensor) -> Lesson:
        lesson = Scenario.learn(self, model, images, labels)
        if not len(self._chosen):
            return lesson
        attacked = model(self._attacked)
        clean = lesson.logits[self._chosen].softmax(1)
        divergence = F.kl_div(attacked.log_softmax(1), clean, reduction="none").sum(1)
        penalty = torch.zeros_like(lesson.loss).index_add(0, self._chosen, divergence, alpha=self.beta)
        if self.signals == "clean":
            return replace(lesson, penalty=penalty)
        shown = lesson.logits.detach().index_copy(0, self._chosen, attacked.detach())
        return replace(lesson, penalty=penalty, shown=shown)
