"""One optimizer step: draw, fetch, perturb, forward, weighted loss, backward, step, observe. Everything here is on the clock."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Sampler, Signals
from robuststream.data.scale import UNIT
from robuststream.training.optimizers import learning_rate, set_learning_rate
from robuststream.training.world import World


def take_step(world: World, recipe: Recipe) -> None:
    """Learn from one mini-batch of the sampler's, and tell the sampler what that revealed. Reads nothing back from the device."""
    clock, ledger, optimizer, team = world.clock, world.ledger, world.optimizer, world.team

    clock.to("draw")
    spent = ledger.spent
    batch = world.draws.next(world.sampler, world.probe, spent)

    clock.to("fetch")
    images, all_labels = world.train.fetch(batch.index, UNIT if world.perturbed else world.network.scale)
    images, labels = team.mine(images), team.mine(all_labels)

    clock.to("perturb")
    if world.perturbed:
        images = world.scenario.perturb(world.network, images, labels)

    clock.to("forward")
    logits = world.network(images, ready=not world.perturbed)
    loss = F.cross_entropy(logits, labels, reduction="none")
    objective = world.learner.objective(team.mine(batch.index), labels, logits, loss, spent)

    clock.to("backward")
    for parameter in world.parameters:
        parameter.grad = None
    # The gradient of the mean of the weighted losses; the mean itself, and its own backward pass, nobody needs.
    equal = _equal_shares(len(batch.index), loss.device)
    objective.backward(team.mine(equal if batch.weight is None else batch.weight * equal))
    team.add_gradients(world.parameters)

    clock.to("step")
    set_learning_rate(optimizer, learning_rate(recipe, spent) * batch.lr_scale)
    optimizer.step()

    clock.to("observe")
    ledger.steps += 1
    loss = team.gather(loss.detach())
    if type(world.sampler).observe is not Sampler.observe:
        world.sampler.observe(Signals.of(batch.index, all_labels, team.gather(logits.detach()), loss))
    world.diagnostics.saw(ledger.steps, batch.index, loss)


@lru_cache(maxsize=4)
def _equal_shares(n: int, device: torch.device) -> Tensor:
    """(n,) of 1 / n, made once."""
    return torch.full((n,), 1.0 / n, device=device)
