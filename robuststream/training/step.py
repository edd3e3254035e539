"""One optimizer step: draw, fetch, perturb, forward, weighted loss, backward, step, observe. Everything here is on the clock."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Batch, Lesson, Sampler, Signals
from robuststream.data.scale import UNIT
from robuststream.training.direct import backward, equal_shares
from robuststream.training.guard import in_train_mode
from robuststream.training.optimizers import learning_rate, set_learning_rate
from robuststream.training.world import World


def take_step(world: World, recipe: Recipe) -> None:
    """Learn from one mini-batch of the sampler's, and tell the sampler what that revealed. Reads nothing back from the device.

    A scenario that replays makes several optimizer steps of it; the sampler is told of the last.
    """
    clock, ledger, team = world.clock, world.ledger, world.team

    clock.to("draw")
    spent = ledger.spent
    batch = team.agreed(world.draws.next(world.sampler, world.probe, spent))

    clock.to("fetch")
    if batch.places is None:
        model, (images, all_labels) = world.model, world.train.fetch(batch.index, UNIT if world.hostile else world.network.scale)
    else:
        (model, images), all_labels = world.probe.lesson(batch.places), world.train.labels.index_select(0, batch.index)
    images, labels = team.mine(images), team.mine(all_labels)

    lesson = _learn(world, recipe, batch, model, images, labels, spent)
    for _ in range(1, world.scenario.replays):
        lesson = _learn(world, recipe, batch, model, images, labels, ledger.spent)

    clock.to("observe")
    shown = lesson.logits if lesson.shown is None else lesson.shown
    loss = lesson.loss if lesson.shown is None else F.cross_entropy(shown, labels, reduction="none")
    loss = team.gather(loss.detach())
    if type(world.sampler).observe is not Sampler.observe:
        world.sampler.observe(Signals.of(batch.index, all_labels, team.gather(shown.detach()), loss))
    world.diagnostics.saw(ledger.steps, batch.index, loss)


def _learn(world: World, recipe: Recipe, batch: Batch, model: Any, images: Tensor, labels: Tensor, spent: float) -> Lesson:
    """Perturb, forward, weighted loss, backward, and one optimizer step at the learning rate of the `spent` share."""
    clock, scenario, optimizer, team = world.clock, world.scenario, world.optimizer, world.team

    clock.to("perturb")
    if world.hostile:
        images = scenario.perturb(world.network, images, labels)
        in_train_mode(world.network, f"{type(scenario).__name__}.perturb")

    clock.to("forward")
    lesson = scenario.learn(model, images, labels)
    objective = world.learner.objective(team.mine(batch.index), labels, lesson.logits, lesson.loss, spent)
    if lesson.penalty is not None:
        objective = objective + lesson.penalty

    clock.to("backward")
    for parameter in world.parameters:
        parameter.grad = None
    # The gradient of the mean of the weighted losses; the mean itself, and its own backward pass, nobody needs.
    equal = equal_shares(batch.index.shape[0], objective.device)
    backward(objective, team.mine(equal if batch.weight is None else batch.weight * equal))
    if images.is_leaf and images.grad is not None:
        scenario.learned(images.grad)
    team.add_gradients(world.parameters)

    clock.to("step")
    if recipe.clip_gradient is not None:
        torch.nn.utils.clip_grad_norm_(world.parameters, recipe.clip_gradient, foreach=True)
    set_learning_rate(optimizer, learning_rate(recipe, spent) * batch.lr_scale)
    optimizer.step()
    world.ledger.steps += 1
    return lesson
