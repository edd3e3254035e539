"""Optimizers, and the learning rate as a function of the spent share of the budget: every arm ends fully decayed (rule 2)."""

from __future__ import annotations

import math

import torch
from torch import nn

from robuststream.config import Recipe


def build_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, Adadelta or AdamW over all parameters."""
    parameters = list(network.parameters())
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(parameters, lr=recipe.lr, rho=recipe.rho, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def learning_rate(recipe: Recipe, spent: float) -> float:
    """The scheduled rate at this spent share of the budget (0 to 1): a linear rise, then the schedule down to 0."""
    if spent < recipe.lr_warmup:
        return recipe.lr * spent / recipe.lr_warmup
    t = (min(spent, 1.0) - recipe.lr_warmup) / (1.0 - recipe.lr_warmup)
    factor = {"constant": 1.0, "linear": 1.0 - t, "cosine": 0.5 * (1.0 + math.cos(math.pi * t))}[recipe.schedule]
    return recipe.lr * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
