"""Attacks: what they find, what they never leave (the ball, [0, 1]), and what they never disturb."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robuststream.attacks import PARTS, Strength, attack
from robuststream.config import ATTACKS
from robuststream.errors import UserError
from robuststream.listing import print_listing

QUICK = Strength(steps=5, iterations=5, queries=20)
EPS = 0.1
EVERY = (*ATTACKS, "apgd-t", "fab-t")


def network(classes: int = 5) -> nn.Sequential:
    """A small one in train mode, with a frozen BatchNorm, a frozen weight and gradients from an earlier step."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, classes)
        )
    made[1].eval()
    made[4].bias.requires_grad_(False)
    made[0].weight.grad = torch.ones_like(made[0].weight)
    return made


def images(n: int = 12) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def labels(net: nn.Module, x: Tensor) -> Tensor:
    """As the network in eval mode predicts them, so that every example is still to be fooled."""
    modes = [module.training for module in net.modules()]
    net.eval()
    with torch.no_grad():
        y = net(x).argmax(1)
    for module, training in zip(net.modules(), modes, strict=True):
        module.training = training
    return y


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("eps", [EPS, 1.0])
@pytest.mark.parametrize("n", [1, 12])
def test_what_is_found_lies_in_the_ball_and_in_the_unit_interval(name: str, eps: float, n: int) -> None:
    net, x = network(), images(n)
    found = attack(name, net, x, labels(net, x), eps, seed=3, strength=QUICK)
    assert found.shape == x.shape
    assert not found.requires_grad
    assert found.isfinite().all()
    assert (found - x).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("name", EVERY)
def test_an_attack_fools_what_can_be_fooled(name: str) -> None:
    net, x = network(), images()
    y = labels(net, x)
    found = attack(name, net, x, y, 1.0, seed=3, strength=QUICK)
    assert (labels(net, found) == y).double().mean() <= 0.5


@pytest.mark.parametrize("name", EVERY)
def test_eps_zero_changes_nothing(name: str) -> None:
    net, x = network(), images()
    assert torch.equal(attack(name, net, x, labels(net, x), 0.0, seed=3, strength=QUICK), x)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_disturbed(name: str) -> None:
    net, x = network(), images()
    y = labels(net, x)
    torch.manual_seed(11)
    random.seed(11)
    before = everything(net)
    with torch.no_grad():
        attack(name, net, x, y, EPS, seed=3, strength=QUICK)
        assert not torch.is_grad_enabled()
    assert everything(net) == before


def everything(net: nn.Module) -> list[object]:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 -- only read
    return [
        [module.training for module in net.modules()],
        [parameter.requires_grad for parameter in net.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in net.parameters()],
        {name: value.tolist() for name, value in net.state_dict().items()},
        torch.get_rng_state().tolist(),
        [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_initialized() else [],
        random.getstate(),
        (state["key"].tolist(), state["pos"]),
        torch.is_grad_enabled(),
    ]


@pytest.mark.parametrize("name", EVERY)
def test_an_attack_that_fails_disturbs_nothing_either(name: str) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor) -> Tensor:
            torch.rand(3)
            raise ValueError("no answer")

    net, x = Broken(), images()
    before = everything(net)
    with pytest.raises(ValueError, match="no answer"):
        attack(name, net, x, torch.zeros(len(x), dtype=torch.int64), EPS, seed=3, strength=QUICK)
    assert everything(net) == before


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_alone_decides(name: str) -> None:
    net, x = network(), images()
    y = labels(net, x)
    torch.manual_seed(1)
    first = attack(name, net, x, y, 0.02, seed=3, strength=QUICK)
    torch.manual_seed(2)
    assert torch.equal(first, attack(name, net, x, y, 0.02, seed=3, strength=QUICK))


@pytest.mark.parametrize("name", ["pgd", "square"])
def test_another_seed_finds_other_images(name: str) -> None:
    net, x = network(), images()
    y = labels(net, x)
    first, second = (attack(name, net, x, y, 0.5, seed=seed, strength=QUICK) for seed in (3, 4))
    assert not torch.equal(first, second)


def test_pgd_can_reach_the_border_of_its_ball() -> None:
    """torchattacks' own default step cannot: it does not scale with eps."""
    net, x = network(), images()
    inside = x.clamp(0.4, 0.6)
    found = attack("pgd", net, inside, labels(net, inside), 0.3, seed=3)
    assert ((found - inside).abs() > 0.3 - 1e-5).double().mean() > 0.5


def test_pgd_and_fgsm_are_what_their_papers_say() -> None:
    """Against a loop written here: sign of the gradient of the mean cross-entropy, projected onto ball and box."""
    net, x = network(), images()
    y = labels(net, x)
    twin = network().eval()

    def ascend(at: Tensor, step: float) -> Tensor:
        at = at.clone().requires_grad_()
        slope = torch.autograd.grad(nn.functional.cross_entropy(twin(at), y), at)[0]
        return (x + (at + step * slope.sign() - x).clamp(-EPS, EPS)).clamp(0, 1).detach()

    assert torch.allclose(attack("fgsm", net, x, y, EPS, seed=3), ascend(x, EPS), atol=1e-6)
    by_hand = x
    for _ in range(5):
        by_hand = ascend(by_hand, 2.5 * EPS / 5)
    still = Strength(steps=5, random_start=False)
    assert torch.allclose(attack("pgd", net, x, y, EPS, seed=3, strength=still), by_hand, atol=1e-6)


def test_autoattack_is_the_worst_of_its_parts() -> None:
    net, x = network(), images(40)
    y = labels(net, x)
    standing = labels(net, attack("autoattack", net, x, y, 0.03, seed=3, strength=QUICK)) == y
    assert 0 < standing.sum() < 40
    for part in PARTS["autoattack"][:1]:  # the first is tried on everything, so whoever it fools is fooled
        alone = labels(net, attack(part, net, x, y, 0.03, seed=3, strength=QUICK)) == y
        assert not (standing & ~alone).any()


@pytest.mark.parametrize(
    ("name", "eps", "low", "answer"),
    [
        ("pdg", 0.1, 0.0, "unknown attack 'pdg'; did you mean 'pgd'?"),
        ("pgd", 1.1, 0.0, "eps=1.1 is not possible (allowed: 0 to 1"),
        ("pgd", -0.1, 0.0, "eps=-0.1 is not possible"),
        ("pgd", float("nan"), 0.0, "eps=nan is not possible"),
        ("pgd", 0.1, -2.0, "images go from -"),
        ("pgd", 0.1, float("nan"), "images go from nan"),
    ],
)
def test_a_mistake_is_one_line(name: str, eps: float, low: float, answer: str) -> None:
    net, x = network(), images()
    with pytest.raises(UserError, match=r"^[^\n]+$") as refused:
        attack(name, net, x + low, torch.zeros(len(x), dtype=torch.int64), eps, seed=3)
    assert answer in str(refused.value)


@pytest.mark.parametrize("name", ["apgd-t", "autoattack"])
def test_too_few_classes_for_a_targeted_loss(name: str) -> None:
    net, x = network(classes=3), images()
    with pytest.raises(UserError, match="needs 4 classes or more, this network has 3"):
        attack(name, net, x, labels(net, x), 0.01, seed=3, strength=QUICK)


def test_every_attack_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    print_listing("attacks")
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in ATTACKS)
    assert "steps: 20 (>= 1)" in told


def test_torchattacks_is_imported_by_an_attack_alone() -> None:
    code = "import sys, robuststream.attacks, robuststream.training.loop; sys.exit('torchattacks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
