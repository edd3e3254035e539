"""Adversarial training in NumPy, from the papers: a two-layer network by hand, PGD, the TRADES objective, free training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


@dataclass
class Net:
    """logits = relu(x w1 + b1) w2 + b2, float64; x (n, D)."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array

    def logits(self, x: Array) -> Array:
        return np.maximum(x @ self.w1 + self.b1, 0) @ self.w2 + self.b2

    def back(self, x: Array, upstream: Array) -> tuple[Array, list[Array]]:
        """Gradients at x and at the weights, given that at the logits (n, K)."""
        before = x @ self.w1 + self.b1
        hidden = (upstream @ self.w2.T) * (before > 0)
        weights = [x.T @ hidden, hidden.sum(0), np.maximum(before, 0).T @ upstream, upstream.sum(0)]
        return hidden @ self.w1.T, weights

    def move(self, weights: list[Array], lr: float) -> None:
        for name, gradient in zip(("w1", "b1", "w2", "b2"), weights, strict=True):
            setattr(self, name, getattr(self, name) - lr * gradient)


def cross_entropy(net: Net, x: Array, y: Array) -> Array:
    return -np.log(softmax(net.logits(x))[np.arange(len(y)), y])


def of_cross_entropy(net: Net, x: Array, y: Array) -> Array:
    """Gradient of the summed cross-entropy at the logits."""
    return softmax(net.logits(x)) - np.eye(net.w2.shape[1])[y]


def project(x: Array, around: Array, eps: float) -> Array:
    return np.clip(np.clip(x, around - eps, around + eps), 0, 1)


def pgd(net: Net, x: Array, y: Array, start: Array, eps: float, alpha: float, steps: int) -> Array:
    """Madry et al., 2018, equation 2.3's inner problem; one step of 1.25 eps is FGSM-RS [Wong et al., 2020, algorithm 3]."""
    attacked = start
    for _ in range(steps):
        gradient, _ = net.back(attacked, of_cross_entropy(net, attacked, y))
        attacked = project(attacked + alpha * np.sign(gradient), x, eps)
    return attacked


def trades_attack(net: Net, x: Array, start: Array, eps: float, alpha: float, steps: int) -> Array:
    """Zhang et al., 2019, algorithm 1, line 7: the divergence from the clean answer is raised."""
    clean, attacked = softmax(net.logits(x)), start
    for _ in range(steps):
        gradient, _ = net.back(attacked, softmax(net.logits(attacked)) - clean)  # d KL(p || softmax(z)) / dz
        attacked = project(attacked + alpha * np.sign(gradient), x, eps)
    return attacked


def trades_loss(net: Net, x: Array, attacked: Array, y: Array, beta: float) -> Array:
    """Equation 5, per example, with the cross-entropy on clean examples and KL(clean || attacked) behind it."""
    clean, moved = softmax(net.logits(x)), softmax(net.logits(attacked))
    return cross_entropy(net, x, y) + beta * (clean * (np.log(clean) - np.log(moved))).sum(1)


def free(net: Net, batches: list[tuple[Array, Array]], eps: float, turns: int, lr: float) -> Array:
    """Shafahi et al., 2019, algorithm 1, with plain SGD on the mean loss; answers with the last perturbation (most, D)."""
    delta = np.zeros((max(len(x) for x, _ in batches), batches[0][0].shape[1]))
    for x, y in batches:
        for _ in range(turns):
            moved = x + delta[: len(x)]
            attacked = np.clip(moved, 0, 1)
            at_input, weights = net.back(attacked, of_cross_entropy(net, attacked, y) / len(y))
            at_delta = at_input * ((moved >= 0) & (moved <= 1))  # through the cut to [0, 1]
            net.move(weights, lr)
            delta[: len(x)] = np.clip(delta[: len(x)] + eps * np.sign(at_delta), -eps, eps)
    return delta
