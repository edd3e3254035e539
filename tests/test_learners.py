"""Learners: objectives against their formulas, the step that descends them, and what samplers are shown meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from _runs import settings, without_time
from robuststream import registry
from robuststream.config import ResolvedPlugin, RunSettings
from robuststream.contracts import Learner, Pool, Signals
from robuststream.errors import UserError
from robuststream.learners.co_teaching import CoTeaching
from robuststream.learners.elr import ELR
from robuststream.learners.gce import GCE
from robuststream.learners.label_smoothing import LabelSmoothing
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.training import loop
from robuststream.training.step import take_step
from robuststream.training.world import build_world

LEARNERS = registry.names("learners")
INDEX = torch.arange(6)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def logits(seed: int = 0) -> Tensor:
    return (3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def taught(learner: Learner, z: Tensor, progress: float = 1.0) -> Tensor:
    return learner.objective(INDEX, LABELS, z, F.cross_entropy(z, LABELS, reduction="none"), progress)


def softmax(z: Tensor) -> np.ndarray[Any, Any]:
    powers = np.exp(z.detach().numpy().astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def with_learner(sampler: str, kind: str, scenario: str = "clean") -> RunSettings:
    built = registry.load("learners", kind, Learner)()
    return settings(sampler, scenario).model_copy(
        update={"learner": ResolvedPlugin(label=kind, kind=kind, settings=built.settings())}
    )


@pytest.mark.parametrize("q", [0.01, 0.7, 1.0])
def test_gce_is_equation_6(q: float) -> None:
    z = logits()
    p = softmax(z)[np.arange(6), LABELS.numpy()]
    np.testing.assert_allclose(taught(GCE(q=q), z).detach().numpy(), (1 - p**q) / q, rtol=1e-5, atol=1e-7)


def test_gce_weighs_an_examples_gradient_by_p_to_the_q() -> None:
    """Section 3.2: its gradient is that of cross-entropy times p^q, so a label that looks wrong pulls little."""
    z, plain = logits(), logits()
    taught(GCE(q=0.7), z).sum().backward()
    F.cross_entropy(plain, LABELS, reduction="sum").backward()
    assert z.grad is not None
    assert plain.grad is not None
    p = softmax(z)[np.arange(6), LABELS.numpy()]
    np.testing.assert_allclose(z.grad.numpy(), plain.grad.numpy() * p[:, None] ** 0.7, rtol=1e-4, atol=1e-7)


def test_label_smoothing_is_its_formula() -> None:
    z = logits()
    target = 0.9 * np.eye(3)[LABELS.numpy()] + 0.1 / 3
    expected = -(target * np.log(softmax(z))).sum(1)
    np.testing.assert_allclose(taught(LabelSmoothing(smoothing=0.1), z).detach().numpy(), expected, rtol=1e-5)


def test_elr_is_equations_6_and_9_over_several_visits() -> None:
    """Targets start at nothing; each visit averages in what the network says, and the loss rewards saying it again."""
    learner = ELR(strength=3.0, decay=0.7)
    learner.start(Pool(6, 6, 3, LABELS, 0), None)  # type: ignore[arg-type]
    target = np.zeros((6, 3))
    for visit in range(3):
        z = logits(visit)
        p = softmax(z).clip(1e-4, 1 - 1e-4)
        target = 0.7 * target + 0.3 * p / p.sum(1, keepdims=True)
        expected = -np.log(softmax(z)[np.arange(6), LABELS.numpy()]) + 3.0 * np.log(1 - (target * p).sum(1))
        np.testing.assert_allclose(taught(learner, z).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_elr_of_a_repeated_example_does_not_depend_on_the_order() -> None:
    def after(order: list[int]) -> Tensor:
        learner = ELR()
        learner.start(Pool(6, 3, 3, LABELS, 0), None)  # type: ignore[arg-type]
        index, z = torch.tensor([2, 2, 5])[order], logits()[[0, 1, 2]][order]
        learner.objective(index, LABELS[index], z, F.cross_entropy(z, LABELS[index], reduction="none"), 0.5)
        return learner.target_

    assert torch.equal(after([0, 1, 2]), after([1, 0, 2]))


class Peer:
    """A companion with losses of the test's choosing, which remembers what it was told to learn."""

    def __init__(self, loss: list[float]) -> None:
        self.loss, self.weights = torch.tensor(loss), []

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        self.weights.append(None if weight is None else weight.tolist())
        return Signals.of(index, LABELS, torch.zeros(6, 3), self.loss)


class Door:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def companion(self, model: str = "") -> Peer:
        return self.peer


def test_co_teaching_exchanges_the_easy_examples() -> None:
    """Algorithm 1 by hand: at half of the ramp, a forget rate of 2/3 leaves a third of six out, and four remain."""
    peer, learner = Peer([5.0, 0.1, 0.2, 4.0, 0.3, 0.4]), CoTeaching(forget_rate=2 / 3, ramp=0.5)
    learner.start(Pool(6, 6, 3, LABELS, 0), Door(peer))  # type: ignore[arg-type]
    z = logits()
    own = F.cross_entropy(z, LABELS, reduction="none").detach()
    objective = taught(learner, z, progress=0.25)
    easy_for_me = set(own.argsort()[:4].tolist())
    assert peer.weights == [[6 / 4 if i in easy_for_me else 0.0 for i in range(6)]]
    expected = [own[i].item() * 6 / 4 if i in {1, 2, 4, 5} else 0.0 for i in range(6)]
    np.testing.assert_allclose(objective.detach().numpy(), expected, rtol=1e-6)
    assert objective.mean().item() == pytest.approx(own[[1, 2, 4, 5]].mean().item())


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 6), (0.05, 3), (1.2, 3)])
def test_co_teaching_forgets_nothing_at_first_and_its_rate_after_the_ramp(progress: float, kept: int) -> None:
    peer, learner = Peer([1.0] * 6), CoTeaching(forget_rate=0.5, ramp=0.05)
    learner.start(Pool(6, 6, 3, LABELS, 0), Door(peer))  # type: ignore[arg-type]
    taught(learner, logits(), progress)
    assert sum(weight > 0 for weight in peer.weights[0]) == kept


def test_co_teaching_costs_two_uniform_steps(tmp_path: Path) -> None:
    totals = loop.train(with_learner("uniform", "co-teaching"), tmp_path)["totals"]
    assert totals["auxiliary"]["forwards"] == totals["forwards"]["train"]
    assert totals["auxiliary"]["backwards"] == totals["backwards"]
    assert totals["flops"] == 2 * totals["auxiliary"]["flops"]


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_step_descends_the_objective_and_shows_samplers_the_cross_entropy(kind: str) -> None:
    run = with_learner("plb", kind)
    world = build_world(run)
    world.sampler.start(world.pool, world.probe)
    world.learner.start(world.pool, world.probe)
    seen: list[Signals] = []
    gradients: list[Tensor] = []
    given = world.learner.objective

    def objective(index: Tensor, labels: Tensor, logits: Tensor, loss: Tensor, progress: float) -> Tensor:
        result = given(index, labels, logits, loss, progress)
        gradients.extend(torch.autograd.grad(result.mean(), logits, retain_graph=True))
        return result

    world.learner.objective = objective  # type: ignore[method-assign]
    world.sampler.observe = seen.append  # type: ignore[method-assign]
    descended: list[Tensor] = []
    parameter = list(world.bare.parameters())[-1]  # the bias of the last layer: its gradient is the logits' summed
    parameter.register_hook(lambda gradient: descended.append(gradient.clone()))
    take_step(world, run.recipe)
    torch.testing.assert_close(descended[0], gradients[0].sum(0))
    plain = F.cross_entropy(seen[0].logits, seen[0].labels, reduction="none")
    torch.testing.assert_close(seen[0].loss, plain)


def test_a_run_with_a_co_teacher_resumes_bit_equal(tmp_path: Path) -> None:
    run = with_learner("rho-loss", "co-teaching", "symmetric-40")  # three companions in all
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    expected, asked = loop.train(run, whole), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 7 == 0

    for _ in range(1000):
        try:
            result = loop.train(run, parted, loop.Watch(stop=stop))
            break
        except loop.Stopped:
            continue
    assert without_time(result) == without_time(expected)


def test_plain_cross_entropy_named_or_not_is_one_run(tmp_path: Path) -> None:
    named = load_study("noisy-labels", ["samplers={uniform: {learner: cross-entropy}}", "seeds=1"])
    unnamed = load_study("noisy-labels", ["samplers={uniform: {}}", "seeds=1"])
    assert plan(named, tmp_path) == plan(unnamed, tmp_path)
    assert "learner" not in plan(named, tmp_path)[0].settings.model_dump()


def test_a_learners_settings_are_part_of_a_runs_identity(tmp_path: Path) -> None:
    overrides = [["samplers.uniform.learner=gce"], ["samplers.uniform.learner={kind: gce, q: 0.5}"], []]
    studies = [load_study("noisy-labels", ["seeds=1", "samplers=uniform", *more]) for more in overrides]
    runs = [plan(study, tmp_path)[0] for study in studies]
    assert len({run.name for run in runs}) == 3
    assert [run.settings.learner and run.settings.learner.settings for run in runs] == [{"q": 0.7}, {"q": 0.5}, None]


@pytest.mark.parametrize(
    ("learner", "complaint"),
    [
        ("gec", "unknown learner 'gec'; did you mean 'gce'"),
        ("{kind: gce, q: 2}", "samplers.uniform.learner: GCE: q=2.0 is not possible (allowed:"),
        ("{kind: gce, p: 2}", "samplers.uniform.learner: unknown key 'p'"),
        ("[gce]", "samplers.uniform.learner must be a mapping"),
        ("{q: 0.5}", "unknown learner ''"),
    ],
)
def test_a_wrong_learner_is_refused_in_one_line(learner: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        plan(load_study("noisy-labels", [f"samplers.uniform.learner={learner}"]), tmp_path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_learner_is_documented() -> None:
    for kind in LEARNERS:
        text = registry.load("learners", kind, Learner).__doc__ or ""
        assert "Cost:" in text
        assert kind == "cross-entropy" or ("Paper:" in text and "Deviations:" in text)
