"""Optimizers, and the learning rate as a function of the spent share of the budget: every arm ends fully decayed (rule 2)."""

from __future__ import annotations

import math

import torch
from torch import nn

from robuststream.config import Recipe
from robuststream.training.direct import Sgd
from robuststream.training.muon import Muon

Optimizer = torch.optim.Optimizer | Sgd | Muon


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """SGD with Nesterov momentum, Adadelta, AdamW or Muon over all parameters that learn."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if recipe.optimizer == "sgd":
        return Sgd(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(parameters, lr=recipe.lr, rho=recipe.rho, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "muon":
        return _muon(recipe, parameters)
    return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _muon(recipe: Recipe, parameters: list[nn.Parameter]) -> Muon:
    """Biases and the last layer take steps of SGD, each at its own rate; there a step takes `weight_decay` times the recipe's own
    rate off the weights, whatever their rate is."""
    last = [parameter for parameter in parameters if parameter.ndim == 2][-1:]
    plain = [parameter for parameter in parameters if parameter.ndim < 2]
    filters = [parameter for parameter in parameters if parameter.ndim >= 2 and all(parameter is not each for each in last)]
    momentum = recipe.momentum if recipe.plain_momentum is None else recipe.plain_momentum
    factors = (recipe.plain_lr_factor, recipe.last_lr_factor or recipe.plain_lr_factor)
    beside = [
        Sgd(some, lr=recipe.lr, momentum=momentum, weight_decay=recipe.weight_decay / factor, lr_factor=factor)
        for some, factor in zip((plain, last), factors, strict=True)
        if some
    ]
    return Muon(filters, lr=recipe.lr, momentum=recipe.momentum, beside=beside)


def learning_rate(recipe: Recipe, spent: float) -> float:
    """The scheduled rate at this spent share of the budget (0 to 1): a linear rise, then the schedule down to 0."""
    if spent < recipe.lr_warmup:
        return recipe.lr * spent / recipe.lr_warmup
    t = (min(spent, 1.0) - recipe.lr_warmup) / (1.0 - recipe.lr_warmup)
    factor = {"constant": 1.0, "linear": 1.0 - t, "cosine": 0.5 * (1.0 + math.cos(math.pi * t))}[recipe.schedule]
    return recipe.lr * factor


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Of every group, times its own factor where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)
