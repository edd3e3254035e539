"""Learners and adversarial training together: the objective is of the examples that were attacked, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from _runs import settings, without_time
from robuststream import registry
from robuststream.config import ResolvedPlugin, RunSettings
from robuststream.contracts import Learner, Lesson, Signals
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.step import take_step
from robuststream.training.world import World, build_world

EPS = "0.1"


def run_of(scenario: str, learner: str, sampler: str = "plb", **given: Any) -> RunSettings:
    overrides = [f"scenarios.{scenario}.{key}={value}" for key, value in {"eps": EPS, **given}.items()]
    built = registry.load("learners", learner, Learner)()
    named = ResolvedPlugin(label=learner, kind=learner, settings=built.settings())
    return settings(sampler, scenario, *overrides).model_copy(update={"learner": named})


@dataclass
class Seen:
    """What one step did, turn by turn."""

    world: World
    clean: list[Tensor] = field(default_factory=list)  # (n, C, H, W), as drawn
    attacked: list[Tensor] = field(default_factory=list)
    learned: list[Tensor] = field(default_factory=list)  # what the training forward was given
    lessons: list[Lesson] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    objectives: list[Tensor] = field(default_factory=list)
    whole: list[Tensor] = field(default_factory=list)  # gradient of the last bias by the mean of objective and penalty
    descended: list[Tensor] = field(default_factory=list)  # and the one that the step took
    told: list[Signals] = field(default_factory=list)


def step(run: RunSettings) -> Seen:
    """The first step of a run, watched."""
    seen = Seen(build_world(run))
    world, scenario = seen.world, seen.world.scenario
    world.clock.to("draw")
    world.sampler.start(world.pool, world.probe)
    world.learner.start(world.pool, world.probe)
    world.network.train()
    bias = list(world.bare.parameters())[-1]
    perturb, learn, objective = scenario.perturb, scenario.learn, world.learner.objective

    def perturbed(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        found = perturb(model, images, labels)
        seen.clean.append(images.clone())
        seen.attacked.append(found.detach().clone())
        return found

    def taught(model: nn.Module, images: Tensor, labels: Tensor) -> Lesson:
        seen.learned.append(images.detach().clone())
        seen.lessons.append(learn(model, images, labels))
        seen.labels.append(labels)
        return seen.lessons[-1]

    def asked(index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        found = objective(index, labels, logits, loss, progress)
        seen.objectives.append(found.detach().clone())
        penalty = seen.lessons[-1].penalty
        total = found.mean() if penalty is None else found.mean() + penalty.mean()
        seen.whole.extend(torch.autograd.grad(total, bias, retain_graph=True))
        return found

    scenario.perturb, scenario.learn, world.learner.objective = perturbed, taught, asked  # type: ignore[method-assign]
    world.sampler.observe = seen.told.append  # type: ignore[method-assign]
    bias.register_hook(lambda gradient: seen.descended.append(gradient.clone()) if world.clock.account == "backward" else None)
    take_step(world, run.recipe)
    return seen


def probabilities(lesson: Lesson) -> np.ndarray[Any, Any]:
    powers = np.exp(lesson.logits.detach().double().numpy())
    return powers / powers.sum(1, keepdims=True)


def of_gce(p: np.ndarray[Any, Any], hot: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, K) the gradient at the logits of (1 - p^0.7) / 0.7."""
    return (p * hot).sum(1, keepdims=True) ** 0.7 * (p - hot)


def of_elr(p: np.ndarray[Any, Any], hot: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, K) that of cross-entropy + 3 log(1 - <p, t>), t = 0.3 p at the first visit and no variable."""
    target = 0.3 * p
    agreed = (p * target).sum(1, keepdims=True)
    return p - hot - 3.0 * p * (target - agreed) / (1 - agreed)


@pytest.mark.parametrize(("learner", "gradient"), [("gce", of_gce), ("elr", of_elr)])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_robust_loss_is_of_the_attacked_examples(learner: str, gradient: Callable[..., Any], share: float) -> None:
    """By hand, from the logits of the training pass: what the step descends, and what the sampler is told."""
    seen = step(run_of("adversarial-pgd", learner, share=share, steps=3))
    moved = (seen.attacked[0] - seen.clean[0]).flatten(1).abs().amax(1)
    assert int((moved > 0).sum()) == round(share * len(moved))
    assert float(moved.max()) <= 0.1 + 1e-6
    assert torch.equal(seen.learned[0], seen.attacked[0])
    p, hot = probabilities(seen.lessons[0]), np.eye(10)[seen.labels[0].numpy()]
    np.testing.assert_allclose(seen.descended[0].numpy(), gradient(p, hot).mean(0), rtol=1e-4, atol=1e-7)
    assert torch.equal(seen.told[0].logits, seen.lessons[0].logits.detach())
    np.testing.assert_allclose(seen.told[0].loss.numpy(), -np.log((p * hot).sum(1)), rtol=1e-4)


@pytest.mark.parametrize("learner", registry.names("learners"))
def test_the_penalty_of_trades_stands_beside_the_objective(learner: str) -> None:
    """Whatever the learner makes of the clean term, beta KL is added once and unchanged."""
    seen = step(run_of("adversarial-trades", learner, steps=2))
    assert seen.lessons[0].penalty is not None
    assert float(seen.lessons[0].penalty.detach().min()) >= 0
    torch.testing.assert_close(seen.descended[0], seen.whole[0])
    if learner == "gce":
        p = probabilities(seen.lessons[0])[np.arange(len(seen.labels[0])), seen.labels[0].numpy()]
        np.testing.assert_allclose(seen.objectives[0].numpy(), (1 - p**0.7) / 0.7, rtol=1e-4, atol=1e-6)


def test_free_training_asks_the_learner_at_every_turn() -> None:
    """ELR's memory then averages in the predictions of all turns, each of other weights and other images."""
    seen = step(run_of("adversarial-free", "elr", turns=3))
    assert len(seen.objectives) == len(seen.lessons) == seen.world.ledger.steps == 3
    target = np.zeros((len(seen.labels[0]), 10))
    for lesson in seen.lessons:
        target = 0.7 * target + 0.3 * probabilities(lesson)
    kept = seen.world.learner.target_[seen.told[0].index]  # type: ignore[attr-defined]
    np.testing.assert_allclose(kept.numpy(), target, rtol=1e-3, atol=1e-6)
    assert not torch.equal(seen.learned[1], seen.learned[2])


@pytest.mark.parametrize("learner", registry.names("learners"))
def test_with_eps_0_a_learner_learns_as_in_the_clean_world(learner: str) -> None:
    under_attack = step(run_of("adversarial-pgd", learner, steps=1, eps="0"))
    plain = build_world(run_of("adversarial-pgd", learner).model_copy(update={"scenario": settings().scenario}))
    plain.clock.to("draw")
    plain.sampler.start(plain.pool, plain.probe)
    plain.learner.start(plain.pool, plain.probe)
    plain.network.train()
    take_step(plain, settings().recipe)
    for name, value in under_attack.world.bare.state_dict().items():
        assert torch.equal(value, plain.bare.state_dict()[name]), name


@pytest.mark.parametrize("learner", ["elr", "co-teaching"])
def test_a_stopped_run_ends_as_an_undisturbed_one(learner: str, tmp_path: Path) -> None:
    run, results, asked = run_of("adversarial-pgd", learner, share=0.5, steps=2), [], 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 4

    for name in ("whole", "parted"):
        (tmp_path / name).mkdir()
        if name == "parted":
            with pytest.raises(Stopped):
                train(run, tmp_path / name, Watch(stop=stop))
        results.append(without_time(train(run, tmp_path / name)))
    assert results[0] == results[1]
    assert results[0]["totals"]["forwards"]["perturb"] == results[0]["totals"]["forwards"]["train"]  # 2 steps on half of them
