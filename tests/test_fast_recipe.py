"""The pieces of the fast CIFAR-10 recipe, each beside a slow twin, and the recipe itself on a small part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from _runs import settings, without_time
from robuststream import records
from robuststream.config import RunSettings
from robuststream.contracts import Split
from robuststream.data.batches import Batches
from robuststream.models._whitening import Whitening, patch_covariance
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.training.evaluation import logits_of
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.muon import orthogonalise
from robuststream.training.optimizers import build_optimizer, set_learning_rate
from robuststream.training.world import build_world


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalised_matrices_keep_directions_and_lose_scales(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = np.linalg.svd(matrix.numpy().astype(np.float64), full_matrices=False)
    found = orthogonalise(matrix, steps=5).numpy()
    along = np.diag(u.T @ found @ v.T)
    assert along.min() > 0.6
    assert along.max() < 1.3
    np.testing.assert_allclose(found, u @ np.diag(along) @ v, atol=1e-4)


def quintic(matrix: np.ndarray, steps: int) -> np.ndarray:
    """On singular values alone: an odd polynomial of a matrix acts on each."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ v


def test_muon_is_its_slow_twin() -> None:
    """Filters are normalised and move along the polynomial of their momentum; a bias and the last layer by Nesterov SGD, at rates
    and with a momentum of their own, and with one decay."""
    rng, lr, beta, plain_beta = np.random.default_rng(0), 0.1, 0.6, 0.8
    factors, decay = {"0.bias": 0.5, "2.weight": 3.0}, 0.01
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3, bias=False))
    own = {"optimizer": "muon", "momentum": beta, "plain_momentum": plain_beta, "lr": lr, "weight_decay": decay}
    recipe = settings().recipe.model_copy(update={**own, "plain_lr_factor": 0.5, "last_lr_factor": 3.0})
    optimizer = build_optimizer(recipe, network)
    twin = {name: parameter.detach().double().numpy() for name, parameter in network.named_parameters()}
    average = {name: np.zeros_like(value) for name, value in twin.items()}
    for rate in (lr, 0.7 * lr, 0.1 * lr):
        set_learning_rate(optimizer, rate)
        for name, parameter in network.named_parameters():
            gradient = rng.normal(size=parameter.shape)
            parameter.grad = torch.from_numpy(gradient).float()
            plain = name in factors
            g = gradient + (decay / factors[name] * twin[name] if plain else 0.0)
            momentum = plain_beta if plain else beta
            average[name] = momentum * average[name] + g
            step = g + momentum * average[name]
            if plain:
                twin[name] = twin[name] - rate * factors[name] * step
            else:
                normal = twin[name] * (2.0 / np.linalg.norm(twin[name]))
                twin[name] = normal - rate * quintic(step.reshape(4, -1), 3).reshape(step.shape)
        optimizer.step()
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), twin[name], atol=2e-5)


def test_a_companion_of_another_architecture_has_one_rate_for_all_its_layers(tmp_path: Path) -> None:
    """Rates of single layers are chosen for the recipe's own network: at 442 times the rate an MLP's biases would blow up."""
    world = build_world(fast(tmp_path, "cpu", *PLAIN, "recipe.plain_lr_factor=442"))
    factors = {
        model: {group.get("lr_factor", 1.0) for group in world.probe.companion(model).optimizer.param_groups}
        for model in ("", "mlp")
    }
    assert factors[""] > {442.0}
    assert factors["mlp"] == {1.0}


@pytest.mark.parametrize("views", ["plain", "mirrored", "shifted"])
def test_views_are_averaged_as_the_slow_twin_does(views: str) -> None:
    images = torch.rand((3, 2, 5, 4), generator=torch.Generator().manual_seed(0))
    weight = np.random.default_rng(0).normal(size=(2 * 5 * 4, 6))

    class Linear(SimpleNamespace):
        def __call__(self, shown: torch.Tensor, ready: bool) -> torch.Tensor:
            assert ready
            return shown.flatten(1) @ torch.from_numpy(weight).float()

    split = SimpleNamespace(plain=lambda index, scale: (images[index], None), example_size=40)
    network = Linear(scale=None, eval=lambda: None, train=lambda: None)
    found = logits_of(network, split, torch.arange(3), views)  # pyright: ignore[reportArgumentType]
    for one, logits in zip(images.numpy(), found.numpy(), strict=True):
        around = np.pad(one, ((0, 0), (1, 1), (1, 1)), "reflect")
        straight = {"plain": [one], "mirrored": [one, one[..., ::-1]]}
        shifted = [around[:, at : at + 5, at : at + 4] for at in (0, 2)]
        answers = [np.mean([v.flatten() @ weight for v in straight.get(views, straight["mirrored"])], axis=0)]
        if views == "shifted":
            answers += [np.mean([v.flatten() @ weight for s in shifted for v in (s, s[..., ::-1])], axis=0)]
        np.testing.assert_allclose(logits, np.mean(answers, axis=0), rtol=1e-4, atol=1e-5)


def test_whitened_patches_are_uncorrelated() -> None:
    generator = torch.Generator().manual_seed(0)
    images = F.avg_pool2d(torch.randn(200, 3, 10, 10, generator=generator), 3, 1)  # neighbours resemble each other
    layer = Whitening(3)
    layer.fit(patch_covariance(images), epsilon=1e-9)
    torch.nn.init.zeros_(layer.bias)
    out = layer(images).permute(0, 2, 3, 1).flatten(0, 2).detach().double()
    half = out[:, :12]
    torch.testing.assert_close(half.T @ half / len(half), torch.eye(12).double(), atol=1e-3, rtol=0)
    assert torch.equal(out[:, 12:], -half)
    assert not layer.weight.requires_grad


def test_alternating_flips_mirror_every_second_presentation() -> None:
    images = torch.zeros(40, 1, 1, 2, dtype=torch.uint8)
    images[..., 0] = 255
    split = Split(images, torch.zeros(40, dtype=torch.int64), torch.arange(40), 2, "pair", 40)
    for native in (True, False):
        generator = torch.Generator().manual_seed(0)
        batches = Batches(split, flip=True, alternate=True, generator=generator, native=native)
        seen = [batches.fetch(torch.arange(40))[0][:, 0, 0, 0] for _ in range(3)]
        assert 8 < seen[0].sum() < 32
        assert torch.equal(seen[1], 1 - seen[0])
        assert torch.equal(seen[2], seen[0])
        repeats = batches.fetch(torch.tensor([3, 3, 3]))[0][:, 0, 0, 0]
        assert repeats.tolist() == [float(seen[1][3])] * 3


# -- the recipe --------------------------------------------------------------------------------------------------------------


def fast(folder: Path, device: str, *overrides: str) -> RunSettings:
    """The recipe on 400 small images tinted by their classes."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 160, (10, 3))
    arrays: dict[str, Any] = {}
    for part, size in (("train", 400), ("test", 100)):
        labels = np.arange(size) % 10
        images = rng.integers(0, 90, (size, 16, 16, 3))
        images += colours[labels][:, None, None]
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels}
    np.savez(folder / "tints.npz", **arrays)
    words = ["samplers=uniform", "seeds=1", f"recipe.data={folder / 'tints.npz'}"]
    words += ["recipe.validation=0.2", "recipe.batch_size=48", "recipe.model_settings.width=4", f"device={device}", *overrides]
    return plan(load_study("fast", words), folder / "unused")[0].settings


PLAIN = ("recipe.compile=false", "recipe.cuda_graphs=false", "recipe.evaluations=4", "budget=3")


def test_the_recipe_learns_and_resumes_on_a_cpu(tmp_path: Path) -> None:
    run = fast(tmp_path, "cpu", *PLAIN)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    undisturbed = train(run, tmp_path / "a")
    assert undisturbed["last"]["test_accuracy"] > 0.4
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 12

    with pytest.raises(Stopped):
        train(run, tmp_path / "b", Watch(stop=stop))
    assert without_time(train(run, tmp_path / "b")) == without_time(undisturbed)
    found = [[without_time(r) for r in records.read_evaluations(tmp_path / name / "records.jsonl")] for name in ("a", "b")]
    assert found[0] == found[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="bf16, channels-last, compile and CUDA graphs need a CUDA device")
def test_the_recipe_with_all_switches_on_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    result = train(fast(tmp_path, "cuda", "recipe.evaluations=4", "budget=4"), tmp_path / "run")
    assert result["last"]["test_accuracy"] > 0.4
    assert result["seconds"]["compile"] > result["seconds"]["train"]  # the warm-up is off the clock
