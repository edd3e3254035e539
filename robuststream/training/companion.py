"""Companions: auxiliary networks that a sampler trains and asks. Every pass is charged at that network's own price (rule 2)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Signals
from robuststream.data.stored import AnyBatches
from robuststream.training.blueprint import Blueprint
from robuststream.training.clock import Clock
from robuststream.training.direct import backward, equal_shares
from robuststream.training.evaluation import logits_of
from robuststream.training.ledger import Auxiliary, Cost, Ledger
from robuststream.training.optimizers import build_optimizer, learning_rate, set_learning_rate
from robuststream.training.precision import Precise
from robuststream.training.streams import stream, stream_seed


class Companions:
    """Makes a sampler's companions. It holds observed labels only."""

    def __init__(self, blueprint: Blueprint, batches: AnyBatches, ledger: Ledger, clock: Clock, seed: int) -> None:
        self.blueprint, self.batches, self.ledger, self.clock, self.seed = blueprint, batches, ledger, clock, seed
        self.made = 0

    def make(self, model: str = "") -> PoolCompanion:
        """A fresh network, the recipe's or another by name, with an initialisation of its own. Setting up is off the clock."""
        self.made += 1
        previous = self.clock.to("compile")
        device = self.blueprint.device
        dropout = stream(self.seed, f"companion-{self.made}", device)
        network = self.blueprint.network(stream_seed(self.seed, f"companion-{self.made}"), dropout, model, compiled=False)
        recipe = self.blueprint.recipe
        if model:  # rates of single layers are meant for the recipe's own network
            recipe = recipe.model_copy(update={"plain_lr_factor": 1.0, "last_lr_factor": None})
        companion = PoolCompanion(network, recipe, self.blueprint.cost(model), dropout, self)
        self.clock.to(previous)
        return companion


class PoolCompanion:
    """One auxiliary network with its own optimizer, that of the recipe, over examples of the pool."""

    def __init__(self, network: Precise, recipe: Recipe, cost: Cost, dropout: torch.Generator, home: Companions) -> None:
        self.network, self.recipe, self.cost, self.dropout = network, recipe, cost, dropout
        self.batches, self.clock, self.ledger = home.batches, home.clock, home.ledger
        self.optimizer = build_optimizer(self.recipe, network)
        network.train()

    def __call__(self, index: Tensor) -> Signals:
        """Signals of the (m,) indices from plain images, in eval mode, without gradient."""
        previous = self.clock.to("probe")
        logits = logits_of(self.network, self.batches, index)
        self._auxiliary.charge(self.cost, len(index), backward=False)
        self.clock.to(previous)
        return Signals.of(index, self.batches.labels.index_select(0, index), logits)

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        """One optimizer step on the (n,) indices, augmented as in training, at the learning rate of `progress` in [0, 1]."""
        previous = self.clock.to("probe")
        images, labels = self.batches.fetch(index, self.network.scale)
        logits = self.network(images, ready=True)
        loss = F.cross_entropy(logits, labels, reduction="none")
        self.network.zero_grad(set_to_none=True)
        equal = equal_shares(len(loss), loss.device)
        backward(loss, equal if weight is None else weight * equal)
        set_learning_rate(self.optimizer, learning_rate(self.recipe, progress))
        self.optimizer.step()
        self._auxiliary.charge(self.cost, len(index), backward=True)
        self.clock.to(previous)
        return Signals.of(index, labels, logits, loss)

    @property
    def _auxiliary(self) -> Auxiliary:
        return self.ledger.auxiliary

    def state_dict(self) -> dict[str, Any]:
        """Network, optimizer and generator, as a checkpoint keeps them."""
        network, optimizer = self.network.state_dict(), self.optimizer.state_dict()
        return {"network": network, "optimizer": optimizer, "dropout": self.dropout.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.dropout.set_state(state["dropout"])
