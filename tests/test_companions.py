"""Companion networks: charged at their own price, part of a run's state, and the samplers that stand on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from _runs import settings, without_time
from robuststream.contracts import Signals
from robuststream.samplers.proxy import Proxy
from robuststream.samplers.rho_loss import RHOLoss
from robuststream.training import loop
from robuststream.training.world import build_world
from twins._shared import Epochs
from twins._world import FakeNetwork, Net, TorchDice, TwinNet, pool_of


@dataclass
class Apprentice:
    """A companion whose losses depend on what it was taught, and on nothing else; one for both sides."""

    network: FakeNetwork
    lessons: list[list[int]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)

    def logits(self, index: list[int]) -> np.ndarray[Any, Any]:
        shift = 0.5 + sum(map(sum, self.lessons)) % 17  # never a pass of the large network, whose losses would tie
        return self.network.logits(index, shift, "eval")

    def __call__(self, index: Tensor) -> Signals:
        labels = torch.from_numpy(self.network.labels)[index]
        return Signals.of(index, labels, torch.from_numpy(self.logits(index.tolist())))

    def learn(self, index: Tensor, progress: float, weight: Tensor | None = None) -> Signals:
        self.lessons.append(index.tolist())
        self.progress.append(progress)
        return self(index)


@dataclass
class Door:
    """A probe that makes apprentices."""

    net: Net
    made: list[Apprentice] = field(default_factory=list)

    def __call__(self, index: Tensor, mode: Any = None) -> Signals:
        return self.net.probe(index, mode)

    def companion(self, model: str = "") -> Apprentice:
        self.made.append(Apprentice(self.net.network))
        return self.made[-1]


def losses(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    z = logits.astype(np.float64)
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]


def hardest(candidates: list[int], score: np.ndarray[Any, Any], n: int) -> set[int]:
    return {candidates[i] for i in np.argsort(-score)[:n]}


def test_rho_loss_is_its_twin() -> None:
    """Equation 3 of the paper, with two halves that judge each other, written a second time."""
    network, seed, size, n = FakeNetwork(80), 3, 80, 8
    door, twin_net, dice = Door(Net(network)), TwinNet(network), TorchDice(seed)
    sampler = RHOLoss(keep=0.25, il_epochs=2)
    sampler.start(pool_of(network, n, seed), door)  # type: ignore[arg-type]
    order = dice.permutation(size)
    halves = order[: size // 2], order[size // 2 :]
    irreducible = np.empty(size)
    for own, other in (halves, halves[::-1]):
        epochs, student = Epochs(dice), Apprentice(network)
        student.lessons.extend(epochs.fill(n, lambda own=own: own) for _ in range(2 * len(own) // n))
        irreducible[other] = losses(student.logits(other), network.labels[other])
    deck = Epochs(dice)
    for _ in range(40):
        drawn = sampler.draw(door, 0.0).index.tolist()  # type: ignore[arg-type]
        candidates = deck.fill(4 * n, lambda: list(range(size)))
        score = np.array(twin_net.probe(candidates).loss()) - irreducible[candidates]
        assert set(drawn) == hardest(candidates, score, n)
    np.testing.assert_allclose(sampler.irreducible_.numpy(), irreducible, rtol=1e-5, atol=1e-6)  # type: ignore[union-attr]
    assert door.made[0].progress == [step / 10 for step in range(10)]


def test_proxy_is_its_twin() -> None:
    network, seed, n = FakeNetwork(80), 3, 8
    door, dice, student = Door(Net(network)), TorchDice(seed), Apprentice(network)
    sampler = Proxy(learn_every=2)
    sampler.start(pool_of(network, n, seed), door)  # type: ignore[arg-type]
    deck = Epochs(dice)
    for step in range(40):
        drawn = sampler.draw(door, step / 40).index.tolist()  # type: ignore[arg-type]
        candidates = deck.fill(2 * n, lambda: list(range(80)))
        assert set(drawn) == hardest(candidates, losses(student.logits(candidates), network.labels[candidates]), n)
        if step % 2 == 0:
            student.lessons.append(drawn)
    assert door.made[0].lessons == student.lessons
    assert door.net.asked == []  # the large network is not probed


@pytest.mark.parametrize("sampler", ["rho-loss", "proxy"])
def test_every_pass_of_a_companion_is_charged_at_its_own_price(sampler: str, tmp_path: Path) -> None:
    run = loop._Run(settings(sampler, "clean"), tmp_path, loop.Watch())
    seen = {"forwards": 0, "backwards": 0}
    companions = run.world.probe.companions
    made: list[Any] = []
    original = companions.make

    def make(model: str = "") -> Any:
        companion = original(model)
        companion.network.register_forward_hook(_count(seen))
        made.append(companion)
        return companion

    companions.make = make  # type: ignore[method-assign]
    totals = run.execute()["totals"]
    cost = made[0].cost
    assert totals["auxiliary"]["forwards"] == seen["forwards"] > 0
    assert totals["auxiliary"]["backwards"] == seen["backwards"] > 0
    assert totals["auxiliary"]["flops"] == seen["forwards"] * cost.forward + seen["backwards"] * cost.backward
    own = sum(totals["forwards"].values()) * totals["flops_per_forward"] + totals["backwards"] * totals["flops_per_backward"]
    assert totals["flops"] == own + totals["auxiliary"]["flops"]
    assert (cost.forward == totals["flops_per_forward"]) == (sampler == "rho-loss")  # the proxy is another, cheaper network


def _count(seen: dict[str, int]) -> Callable[..., None]:
    def hook(network: Any, inputs: tuple[Tensor], outputs: Tensor) -> None:
        seen["forwards"] += len(inputs[0])
        seen["backwards"] += len(inputs[0]) if outputs.requires_grad else 0

    return hook


@pytest.mark.parametrize("sampler", ["rho-loss", "proxy"])
def test_a_run_with_companions_resumes_bit_equal(sampler: str, tmp_path: Path) -> None:
    run = settings(sampler, "symmetric-40")
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    expected = loop.train(run, whole)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 7 == 0

    while True:
        try:
            result = loop.train(run, parted, loop.Watch(stop=stop))
            break
        except loop.Stopped:
            continue
    assert without_time(result) == without_time(expected)


def test_companions_of_a_run_differ_from_it_and_from_each_other() -> None:
    world = build_world(settings("rho-loss", "clean"))
    first, second = world.probe.companion(), world.probe.companion()
    weights = [next(iter(part.parameters())) for part in (world.bare, first.network, second.network)]
    assert all(not torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
