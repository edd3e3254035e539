"""The trainer's short ways beside torch's own: the same bits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _runs import settings
from robuststream.training.direct import Sgd, backward
from robuststream.training.world import build_world

STEPS = 5
RATES = [0.1, 0.05, 0.2, 0.0, 0.1]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 3, 8, 8, generator=generator), torch.randint(5, (16,), generator=generator)) for _ in range(STEPS)]


def trained(net: nn.Sequential, make: Callable[[list[Tensor]], torch.optim.Optimizer | Sgd], frozen: int = -1) -> list[Tensor]:
    """Weights after a few steps; the parameter at place `frozen` gets no gradient at the second of them."""
    parameters = list(net.parameters())
    optimizer = make(parameters)
    for place, ((images, labels), lr) in enumerate(zip(batches(), RATES, strict=True)):
        for parameter in parameters:
            parameter.grad = None
        F.cross_entropy(net(images), labels).backward()
        if frozen >= 0 and place == 1:
            parameters[frozen].grad = None
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("frozen", [-1, 0])
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 5e-4), (0.9, 0.0), (0.0, 5e-4)])
def test_sgd_steps_are_those_of_torch(momentum: float, decay: float, frozen: int) -> None:
    def theirs(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1, momentum=momentum, nesterov=momentum > 0, weight_decay=decay, fused=True)

    ours = trained(network(), lambda parameters: Sgd(parameters, lr=0.1, momentum=momentum, weight_decay=decay), frozen)
    expected = trained(network(), theirs, frozen)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    assert not torch.equal(ours[0], next(network().parameters()))


def test_sgd_goes_on_from_what_it_saved() -> None:
    nets = [network(), network()]
    first, second = (Sgd(list(net.parameters()), lr=0.1, momentum=0.9, weight_decay=0.0) for net in nets)
    (images, labels), *_ = batches()
    for net in nets:
        F.cross_entropy(net(images), labels).backward()
    first.param_groups[0]["lr"] = 0.05
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"] == 0.05
    assert all(torch.equal(a, b) and a is not b for a, b in zip(first.momenta, second.momenta, strict=True))


def test_backward_gives_the_gradients_of_torch() -> None:
    shares = torch.rand(16, generator=torch.Generator().manual_seed(2))
    found: list[list[Tensor | None]] = []
    for way in (backward, lambda losses, given: losses.backward(given)):
        net = network()
        for images, labels in batches()[:2]:  # the second is added to the first
            way(F.cross_entropy(net(images), labels, reduction="none"), shares)
        found.append([parameter.grad for parameter in net.parameters()])
    ours, expected = found
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_shares_of_another_shape_are_an_error() -> None:
    images, labels = batches()[0]
    with pytest.raises(RuntimeError, match="shape"):
        backward(F.cross_entropy(network()(images), labels, reduction="none"), torch.ones(3))


def test_a_run_with_sgd_does_not_wait_for_the_compiler() -> None:
    """To import it takes every worker seconds; torch's own optimizers do."""
    code = (
        "import sys; from _runs import settings; from robuststream.training.world import build_world\n"
        "from robuststream.training.step import take_step\n"
        "run = settings('plb', 'symmetric-40'); world = build_world(run); world.sampler.start(world.pool, world.probe)\n"
        "take_step(world, run.recipe); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="tests")
    assert done.stdout.strip() == "False"


def test_the_trainer_takes_it() -> None:
    assert isinstance(build_world(settings("uniform", "clean")).optimizer, Sgd)
