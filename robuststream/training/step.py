"""One optimizer step: draw, fetch, perturb, forward, weighted loss, backward, step, observe. Everything here is on the clock."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robuststream.config import Recipe
from robuststream.contracts import Signals
from robuststream.errors import UserError
from robuststream.training.optimizers import learning_rate, set_learning_rate
from robuststream.training.world import World


def take_step(world: World, recipe: Recipe) -> None:
    """Learn from one mini-batch of the sampler's, and tell the sampler what that revealed. Reads nothing back from the device."""
    clock, ledger, optimizer = world.clock, world.ledger, world.optimizer

    clock.to("draw")
    spent = ledger.spent
    batch = world.sampler.draw(world.probe, spent)
    if not len(batch.index):
        raise UserError(
            f"{type(world.sampler).__name__} drew an empty mini-batch; a draw is 1 to {world.pool.batch_size} indices"
        )

    clock.to("fetch")
    images, labels = world.train.fetch(batch.index)

    clock.to("perturb")
    images = world.scenario.perturb(world.network, images, labels)

    clock.to("forward")
    logits = world.network(images)
    loss = F.cross_entropy(logits, labels, reduction="none")
    objective = world.learner.objective(batch.index, labels, logits, loss, spent)

    clock.to("backward")
    optimizer.zero_grad(set_to_none=True)
    # The gradient of the mean of the weighted losses; the mean itself, and its own backward pass, nobody needs.
    share = 1.0 / len(objective)
    objective.backward(torch.full_like(objective, share) if batch.weight is None else batch.weight * share)

    clock.to("step")
    if recipe.clip_gradient is not None:
        torch.nn.utils.clip_grad_norm_(world.bare.parameters(), recipe.clip_gradient, foreach=True)
    set_learning_rate(optimizer, learning_rate(recipe, spent) * batch.lr_scale)
    optimizer.step()

    clock.to("observe")
    ledger.steps += 1
    signals = Signals.of(batch.index, labels, logits, loss)
    world.sampler.observe(signals)
    world.diagnostics.saw(ledger.steps, signals)
