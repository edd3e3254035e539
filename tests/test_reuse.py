"""Reused activations: the gradient is that of a second forward pass over the kept examples, and nothing is computed for it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from _runs import settings
from robuststream.config import Recipe, RunSettings
from robuststream.errors import UserError
from robuststream.models._build import build
from robuststream.training.precision import Precise
from robuststream.training.reuse import Seen
from robuststream.training.step import take_step
from robuststream.training.world import World, build_world

REUSING = ("variant=composer-reusing", "active_from=0.0", "active_until=1.0", "interrupt=0")


def reusing(*overrides: str) -> RunSettings:
    return settings("selective-backprop", "clean", *(f"samplers.selective-backprop.{each}" for each in REUSING), *overrides)


def network(kind: str, precision: str = "fp32", channels_last: bool = False, **chosen: int) -> Precise:
    recipe = reusing().recipe.model_copy(update={"precision": precision, "channels_last": channels_last})
    built = build(
        kind, chosen, shape=(1, 12, 12), num_classes=10, mean=[0.5], std=[0.3], init_seed=0,
        dropout_generator=torch.Generator().manual_seed(3), device="cpu",
    )  # fmt: skip
    return Precise(built, recipe, "cpu").train()


def gradients(precise: Precise) -> list[Tensor]:
    return [parameter.grad for parameter in precise.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("kind", "chosen"), [("mlp", {"layers": 2}), ("small-cnn", {}), ("paper-cnn", {})])
def test_the_gradient_is_that_of_a_second_pass_over_the_kept(kind: str, chosen: dict[str, int], channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = network(kind, channels_last=channels_last, **chosen)
    images, labels = torch.randn(32, 1, 12, 12, generator=generator), torch.randint(0, 10, (32,), generator=generator)
    kept = torch.randperm(32, generator=generator)[:16]
    theirs = copy.deepcopy(ours)
    seen = Seen(ours, images)
    replayed = seen(seen.keep(kept))
    assert torch.equal(replayed, seen.logits[kept])
    F.cross_entropy(replayed, labels[kept]).backward()
    # The whole batch forward, with the same dropout, and a loss of the kept alone: the same gradient, at full cost.
    F.cross_entropy(theirs(images, ready=True)[kept], labels[kept]).backward()
    assert len(gradients(ours)) == len(list(ours.parameters()))
    for mine, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    # And, where nothing is dropped, that of a second forward pass over the kept.
    if kind != "paper-cnn":
        theirs.zero_grad()
        F.cross_entropy(theirs(images[kept], ready=True), labels[kept]).backward()
        for mine, other in zip(gradients(ours), gradients(theirs), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_dropout_draws_once() -> None:
    precise = network("paper-cnn")
    images = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    (dropout, *_) = [module for module in precise.modules() if type(module).__name__ == "Dropout"]
    seen = Seen(precise, images)
    before = dropout.generator.get_state()  # type: ignore[union-attr]
    seen(seen.keep(torch.arange(4))).sum().backward()
    assert torch.equal(before, dropout.generator.get_state())  # type: ignore[union-attr]


def test_bf16_reuses_what_autocast_made() -> None:
    precise = network("small-cnn", "bf16", channels_last=True)
    images = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(0)).bfloat16()
    seen, kept = Seen(precise, images), torch.tensor([1, 6])
    replayed = seen(seen.keep(kept))
    assert torch.equal(replayed, seen.logits[kept])
    replayed.sum().backward()
    assert all(bool(gradient.isfinite().all()) and bool((gradient != 0).any()) for gradient in gradients(precise))


def test_the_kept_cost_their_backward_pass_and_nothing_else() -> None:
    precise = network("small-cnn")
    images = torch.randn(32, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    seen = Seen(precise, images)
    with FlopCounterMode(display=False) as plain:
        precise(images[:8], ready=True)
    with FlopCounterMode(display=False) as whole:
        precise(images[:8], ready=True).sum().backward()
    with FlopCounterMode(display=False) as reused:
        seen(seen.keep(torch.arange(8))).sum().backward()
    assert reused.get_total_flops() == whole.get_total_flops() - plain.get_total_flops()


def world_of(run: RunSettings) -> World:
    world = build_world(run)
    world.sampler.start(world.pool, world.probe)
    world.learner.start(world.pool, world.probe)
    world.network.train()
    return world


def test_a_step_is_charged_a_probe_and_the_backward_pass_of_the_kept() -> None:
    run = reusing()
    world, n = world_of(run), run.recipe.batch_size
    before = copy.deepcopy(world.bare.state_dict())
    for _ in range(3):
        take_step(world, run.recipe)
    assert world.ledger.forwards == {"train": 0, "probe": 3 * n, "perturb": 0}
    assert world.ledger.backwards == 3 * n // 2
    assert any(not torch.equal(value, before[name]) for name, value in world.bare.state_dict().items())


def test_the_biggest_losers_are_learned_from_the_pass_that_chose_them() -> None:
    """One step, a second time: the same candidates forward in train mode, and a step on those with these indices."""
    run = reusing("samplers.selective-backprop.keep=0.25")
    world, twin = world_of(run), world_of(run)
    take_step(world, run.recipe)
    index = world.diagnostics.drawn[0]
    assert len(index) == run.recipe.batch_size // 4
    assert set(index.tolist()) <= set(world.probe.asked[0][1].tolist())
    images, labels = twin.train.plain(index, twin.network.scale)
    F.cross_entropy(twin.bare(images, ready=True), labels).backward()
    for group in twin.optimizer.param_groups:
        group["lr"] = world.optimizer.param_groups[0]["lr"]
    twin.optimizer.step()
    for mine, other in zip(world.parameters, twin.parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("recipe.lookahead=2",), "recipe.lookahead=2"),
        (("recipe.compile=true",), "recipe.compile=true"),
        (("recipe.model=resnet18",), "model 'resnet18'"),
    ],
)
def test_what_cannot_be_reused_is_refused_at_once(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match="reused activations are not possible with") as caught:
        build_world(reusing(*overrides))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class Mixes(nn.Module):
    """Takes the mean of the mini-batch away."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(shape[0] * shape[1] * shape[2], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.body(flat - flat.mean(0))


def test_an_operation_that_mixes_examples_is_refused_by_name() -> None:
    recipe: Recipe = reusing().recipe
    precise = Precise(nn.Sequential(*network("mlp").network.children()), recipe, "cpu")  # type: ignore[union-attr]
    precise._plain[True] = Mixes((1, 12, 12), 10).forward
    precise._compiled = precise._plain
    with pytest.raises(UserError, match=r"aten\.mean\.dim"):
        Seen(precise, torch.randn(8, 1, 12, 12))
