"""One optimizer step: draw, fetch, perturb, forward, weighted loss, backward, step, observe. Everything here is on the clock."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Batch, Lesson, Scenario, Signals
from robuststream.errors import UserError
from robuststream.training.guard import in_train_mode
from robuststream.training.optimizers import learning_rate, set_learning_rate
from robuststream.training.world import World


def take_step(world: World, recipe: Recipe) -> None:
    """Learn from one mini-batch of the sampler's, and tell the sampler what that revealed. Reads nothing back from the device.

    A scenario that replays makes several optimizer steps of it; the sampler is told of the last.
    """
    clock, ledger = world.clock, world.ledger

    clock.to("draw")
    spent = ledger.spent
    batch = world.sampler.draw(world.probe, spent)
    if not len(batch.index):
        raise UserError(
            f"{type(world.sampler).__name__} drew an empty mini-batch; a draw is 1 to {world.pool.batch_size} indices"
        )

    clock.to("fetch")
    images, labels = world.train.fetch(batch.index)

    lesson = _learn(world, recipe, batch, images, labels, spent)
    for _ in range(1, world.scenario.replays):
        lesson = _learn(world, recipe, batch, images, labels, ledger.spent)

    clock.to("observe")
    if lesson.shown is None:
        signals = Signals.of(batch.index, labels, lesson.logits, lesson.loss)
    else:
        signals = Signals.of(batch.index, labels, lesson.shown)
    world.sampler.observe(signals)
    world.diagnostics.saw(ledger.steps, signals)


def _learn(world: World, recipe: Recipe, batch: Batch, images: Tensor, labels: Tensor, spent: float) -> Lesson:
    """Perturb, forward, weighted loss, backward, and one optimizer step at the learning rate of the `spent` share."""
    clock, scenario, optimizer = world.clock, world.scenario, world.optimizer

    clock.to("perturb")
    images = scenario.perturb(world.network, images, labels)
    if type(scenario).perturb is not Scenario.perturb:
        in_train_mode(world.network, f"{type(scenario).__name__}.perturb")

    clock.to("forward")
    lesson = scenario.learn(world.network, images, labels)
    objective = world.learner.objective(batch.index, labels, lesson.logits, lesson.loss, spent)
    if lesson.penalty is not None:
        objective = objective + lesson.penalty

    clock.to("backward")
    optimizer.zero_grad(set_to_none=True)
    # The gradient of the mean of the weighted losses; the mean itself, and its own backward pass, nobody needs.
    share = 1.0 / len(objective)
    objective.backward(torch.full_like(objective, share) if batch.weight is None else batch.weight * share)
    if images.is_leaf and images.grad is not None:
        scenario.learned(images.grad)

    clock.to("step")
    if recipe.clip_gradient is not None:
        torch.nn.utils.clip_grad_norm_(world.bare.parameters(), recipe.clip_gradient, foreach=True)
    set_learning_rate(optimizer, learning_rate(recipe, spent) * batch.lr_scale)
    optimizer.step()
    world.ledger.steps += 1
    return lesson
