"""Networks: built from a seed alone, normalising inside, drawing from no global generator, refused in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18 as torchvisions_resnet18

from robuststream import registry
from robuststream.errors import UserError
from robuststream.models._build import build, parameters_of
from robuststream.models._layers import Dropout, Flatten, Normalise

GREY, COLOUR = (1, 8, 8), (3, 12, 10)
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": 7, "layers": 2},
    "small-cnn": {"width": 3},
    "paper-cnn": {},
    "resnet18": {"width": 4},
    "whitened-cnn": {"width": 9},
}
SHAPES = {"whitened-cnn": (1, 9, 9)}
"""What is tried instead of GREY, which is too small."""
FROZEN = {"whitened-cnn": {"body.0.weight", *(f"body.{place}.weight" for place in (4, 7, 11, 14, 18, 21))}}
"""On purpose: the whitening, and the scales of the batch norms."""
IDENTITIES = {"whitened-cnn": {f"body.{place}.weight" for place in (6, 13, 16, 20)}}
"""Convolutions that are the identity at the start, whatever the seed."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks on a busy machine: two threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(kind: str, shape: tuple[int, int, int] = GREY, classes: int = 5, seed: int = 0, **settings: Any) -> nn.Sequential:
    return build(
        kind,
        settings,
        shape=shape,
        num_classes=classes,
        mean=[0.5] * shape[0],
        std=[0.25] * shape[0],
        init_seed=seed,
        dropout_generator=torch.Generator().manual_seed(9),
        device="cpu",
    )


def refusal(kind: str, shape: tuple[int, int, int] = GREY, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        make(kind, shape, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_is_tried_here() -> None:
    assert set(SMALL) == set(registry.names("models"))


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("colour", [False, True])
def test_every_parameter_of_every_network_learns(kind: str, colour: bool) -> None:
    shape = COLOUR if colour else SHAPES.get(kind, GREY)
    network = make(kind, shape, **SMALL[kind])
    assert network.training
    logits = network(torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (6, 5)
    nn.functional.cross_entropy(logits, torch.arange(6) % 5).backward()
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.partition(".")[2] for name in frozen} == FROZEN.get(kind, set())
    for name, parameter in network.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", SMALL)
def test_init_seed_alone_decides_and_the_global_generator_stays(kind: str) -> None:
    torch.manual_seed(1)
    before, shape = torch.get_rng_state(), SHAPES.get(kind, GREY)
    first = make(kind, shape, seed=3, **SMALL[kind]).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = (make(kind, shape, seed=seed, **SMALL[kind]).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], same[key]) for key in first)
    weights = [key for key in first if key.endswith("weight") and first[key].ndim > 1]
    assert weights
    same_still = {key.partition(".")[2] for key in weights if torch.equal(first[key], other[key])}
    assert same_still == IDENTITIES.get(kind, set())


@pytest.mark.parametrize("kind", SMALL)
def test_training_passes_leave_the_global_generator_alone(kind: str) -> None:
    shape = SHAPES.get(kind, GREY)
    network, before = make(kind, shape, **SMALL[kind]), torch.get_rng_state()
    network(torch.rand(4, *shape, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kind", "settings", "shape", "classes", "parameters"),
    [
        ("mlp", {}, (1, 28, 28), 10, 785 * 256 + 257 * 10),
        ("mlp", {"hidden": 7, "layers": 3}, (3, 4, 5), 6, 61 * 7 + 2 * 8 * 7 + 8 * 6),
        ("small-cnn", {}, (1, 8, 8), 10, 10 * 16 + 145 * 32 + 513 * 10),
        ("small-cnn", {"width": 2}, (3, 7, 9), 5, 28 * 2 + 19 * 4 + 81 * 5),
        ("paper-cnn", {}, (1, 28, 28), 26, 1_201_946),  # the paper: about 1.2 M
        ("resnet18", {}, (3, 32, 32), 10, 11_173_962),
    ],
)
def test_sizes(kind: str, settings: dict[str, Any], shape: tuple[int, int, int], classes: int, parameters: int) -> None:
    assert size(make(kind, shape, classes, **settings)) == parameters


def test_paper_cnn_is_the_papers() -> None:
    assert [module.p for module in make("paper-cnn").modules() if isinstance(module, Dropout)] == [0.25, 0.5]
    layers = [type(module).__name__ for module in make("paper-cnn")[1].modules() if not list(module.children())]
    expected = "Conv2d ReLU Conv2d MaxPool2d ReLU Dropout Flatten Linear ReLU Dropout Linear"
    assert layers == expected.split()


def test_pooling_before_relu_changes_no_bit_of_the_papers_network() -> None:
    ours = make("paper-cnn", (1, 12, 12))[1]
    layers = list(ours.body)  # pyright: ignore[reportArgumentType]
    papers = nn.Sequential(*layers[:3], layers[4], layers[3], *layers[5:])
    images, found = torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(0)) - 0.5, []
    for network in (ours, papers):
        for layer in ours.modules():
            if isinstance(layer, Dropout) and layer.generator is not None:
                layer.generator.manual_seed(3)
        logits = network(images)
        found.append([logits, *torch.autograd.grad(logits.logsumexp(1).sum(), list(ours.parameters()))])
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", ["small-cnn", "paper-cnn"])
def test_gradients_keep_the_format_of_channels_last_activations(kind: str) -> None:
    """And are those of torch's format, to rounding."""
    images, found = torch.rand(4, *COLOUR, generator=torch.Generator().manual_seed(0)), []
    for memory in (torch.contiguous_format, torch.channels_last):
        network = make(kind, COLOUR).to(memory_format=memory)  # pyright: ignore[reportCallIssue]
        network.eval()  # no dropout
        seen: list[Tensor] = []
        flatten = next(module for module in network.modules() if isinstance(module, Flatten))
        flatten.register_forward_pre_hook(lambda _, given, seen=seen: given[0].register_hook(seen.append) and None)
        network(images.contiguous(memory_format=memory)).logsumexp(1).sum().backward()
        assert seen[0].is_contiguous(memory_format=memory)
        found.append([parameter.grad for parameter in network.parameters()])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_resnet18_computes_what_torchvisions_does() -> None:
    """torchvision's network with the stem exchanged and our weights must give our logits."""
    theirs = torchvisions_resnet18(num_classes=5)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()  # type: ignore[assignment]
    ours = make("resnet18", COLOUR)[1]
    weights = dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))
    theirs.load_state_dict(weights)
    images = torch.rand(4, *COLOUR, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_normalise_by_hand() -> None:
    layer = Normalise([0.1, 0.5, 0.9], [0.5, 0.25, 2.0])
    images = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)
    expected = np.stack([(images[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 0.5), (0.5, 0.25), (0.9, 2.0)])], axis=1)
    np.testing.assert_allclose(layer(torch.from_numpy(images)).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert set(layer.state_dict()) == {"mean", "std"}


def test_build_normalises_inside() -> None:
    network = make("mlp")
    images = torch.rand(3, *GREY, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), network[1]((images - 0.5) / 0.25))


@pytest.mark.parametrize("p", [0.25, 0.5, 1 / 256, 255 / 256])
def test_dropout_drops_the_right_share_and_keeps_the_mean(p: float) -> None:
    layer = Dropout(p)
    layer.generator = torch.Generator().manual_seed(0)
    ones = torch.ones(200_000)
    dropped = layer(ones)
    assert set(dropped.unique().tolist()) == {0.0, np.float32(1 / (1 - p))}
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / 200_000) ** 0.5)
    assert not torch.equal(layer(ones), dropped)
    layer.generator.manual_seed(0)
    assert torch.equal(layer(ones), dropped)
    assert torch.equal(layer.eval()(ones), ones)


def test_dropout_of_any_chance_keeps_the_order_of_memory_and_its_neighbours_independent() -> None:
    layer = Dropout(0.1)  # no multiple of 1/256
    layer.generator = torch.Generator().manual_seed(0)
    ones = torch.ones(50, 8, 20, 20).contiguous(memory_format=torch.channels_last)
    dropped = layer(ones)
    assert dropped.is_contiguous(memory_format=torch.channels_last)
    gone = (dropped.permute(0, 2, 3, 1).flatten() == 0).double()
    assert gone.mean().item() == pytest.approx(0.1, abs=5 * (0.09 / len(gone)) ** 0.5)
    for distance in (1, 2, 3, 4, 8):
        together = (gone[:-distance] * gone[distance:]).mean().item()
        assert together == pytest.approx(0.01, abs=5 * (0.01 / len(gone)) ** 0.5)


def test_dropout_gradient_passes_where_the_activation_did() -> None:
    layer = Dropout(0.5)
    layer.generator = torch.Generator().manual_seed(0)
    activations = torch.ones(50, requires_grad=True)
    dropped = layer(activations)
    dropped.sum().backward()
    assert torch.equal(activations.grad, dropped.detach())


def test_dropout_without_a_generator_does_not_fall_back_to_the_global_one() -> None:
    with pytest.raises(RuntimeError, match="no generator"):
        Dropout(0.5)(torch.ones(3))


def test_all_dropouts_share_the_generator_and_none_is_in_the_state() -> None:
    network = make("paper-cnn")
    generators = {id(module.generator) for module in network.modules() if isinstance(module, Dropout)}
    assert len(generators) == 1
    assert all(isinstance(value, torch.Tensor) for value in network.state_dict().values())
    assert not [key for key in network.state_dict() if "generator" in key]


def test_parameters_of() -> None:
    assert parameters_of(registry.load("models", "mlp", nn.Module)) == [("hidden", "int", 256), ("layers", "int", 1)]
    assert parameters_of(registry.load("models", "paper-cnn", nn.Module)) == []


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("mlpp", {}, "unknown model 'mlpp'; did you mean 'mlp'?"),
        ("mlp", {"hiden": 8}, "unknown key 'hiden'; did you mean 'hidden'?"),
        ("mlp", {"hidden": 0}, "hidden=0 is not possible (allowed: >= 1)"),
        ("mlp", {"hidden": 8.5}, "hidden=8.5 is not possible (must be a whole number)"),
        ("mlp", {"layers": True}, "layers=True is not possible (must be a whole number)"),
        ("small-cnn", {"width": -1}, "width=-1 is not possible"),
        ("paper-cnn", {"width": 3}, "unknown key 'width'"),
    ],
)
def test_wrong_settings_are_refused(kind: str, settings: dict[str, Any], words: str) -> None:
    assert words in refusal(kind, **settings)


@pytest.mark.parametrize("shape", [(1, 5, 8), (1, 8, 5)])
def test_images_too_small_are_refused_with_the_sizes(shape: tuple[int, int, int]) -> None:
    assert f"at least 6 x 6, these are {shape[1]} x {shape[2]}" in refusal("paper-cnn", shape)
    make("paper-cnn", (1, 6, 6))


THIRD_PARTY = """
from torch import nn

class Theirs(nn.Module):
    def __init__(self, shape, num_classes, *, drop: float = 0.5{extra}):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear({inputs}, {outputs}), {last})

    def forward(self, images):
        return self.body(images)
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"last": "nn.Dropout(drop)"}, "its module 'body.2' (Dropout) draws from the global generator"),
        ({"last": "nn.AlphaDropout(drop)"}, "its module 'body.2' (AlphaDropout) draws from the global generator"),
        ({"outputs": "num_classes + 1"}, "answers one image with (1, 6) instead of (1, 5) logits"),
        ({"inputs": "63"}, "does not work on images of 1 x 8 x 8: RuntimeError"),
        ({"extra": ", gain: float"}, "hyperparameter 'gain' has no default"),
    ],
)
def test_third_party_networks_are_checked_when_built(tmp_path: Path, change: dict[str, str], words: str) -> None:
    parts = {"inputs": "64", "outputs": "num_classes", "last": "nn.Identity()", "extra": ""} | change
    path = tmp_path / f"theirs{len(words)}.py"
    path.write_text(THIRD_PARTY.format(**parts))
    if words:
        assert re.search(re.escape(words), refusal(f"{path}:Theirs"))
    else:
        assert make(f"{path}:Theirs", drop=0.25)(torch.zeros(2, *GREY)).shape == (2, 5)
