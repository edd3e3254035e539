"""The training loops of trainer.py: robuststream's own step, the bare step under it, and the loops that people write."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness.measure import Step
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler
from torchvision import datasets, transforms

from robuststream.config import Augment, Budget, Recipe, ResolvedPlugin, RunSettings
from robuststream.contracts import Sampler
from robuststream.data.load import FOLDER_VARIABLE, load_arrays
from robuststream.samplers._streaming import Streaming
from robuststream.training.step import take_step
from robuststream.training.world import World, build_world

RANDOM_EXAMPLES = 20_000  # where the real images are absent
LOOKAHEAD = 2
RATE = 1e-4  # so low that nothing is learned: the work of a step must not depend on the steps before it


@dataclass(frozen=True)
class Task:
    """What is trained and how. `fast` is bf16; the default is float32."""

    model: str
    batch: int
    data: str = "mnist"
    width: int = 0  # of a convolutional network; 0 for its default
    augmented: bool = False
    fast: bool = False
    channels_last: bool = True  # as recipes for images of 28 pixels and more have it
    train_size: int | None = None
    stored: bool = False  # images in a memory-mapped file, drawn LOOKAHEAD steps ahead
    device: str = "cpu"
    compiled: bool = False  # on a GPU with CUDA graphs

    @property
    def name(self) -> str:
        width = f" width {self.width}" if self.width else ""
        ways = {"crop and flip": self.augmented, "bf16": self.fast, "on disk": self.stored, "compiled": self.compiled}
        return ", ".join([f"{self.model}{width}, batch {self.batch}", *(way for way, so in ways.items() if so)])

    def settings(self, folder: Path) -> RunSettings:
        """As a study would make them, with a budget that no benchmark spends."""
        nobody = ResolvedPlugin(label="uniform", kind="uniform", settings={}, source="")
        recipe = Recipe.model_validate(
            {
                "data": mapped(self.data, folder) if self.stored else images_of(self.data, folder),
                **({"stored": True, "lookahead": LOOKAHEAD} if self.stored else {}),
                "train_size": self.train_size,
                "model": self.model,
                "model_settings": {"width": self.width} if self.width else {},
                "lr": RATE,
                "schedule": "constant",
                "batch_size": self.batch,
                "precision": "bf16" if self.fast else "fp32",
                "channels_last": self.channels_last,
                "compile": self.compiled,
                "cuda_graphs": self.compiled and self.device != "cpu",
                "augment": Augment(crop=4 if self.augmented else 0, flip=self.augmented),
                "budget": Budget(amount=1e12, unit="steps"),
            }
        )
        clean = nobody.model_copy(update={"label": "clean", "kind": "clean"})
        return RunSettings(rules="benchmark", sampler=nobody, scenario=clean, recipe=recipe, seed=0, device=self.device)


def images_of(name: str, folder: Path) -> str:
    """The data set's name where its file is at hand, else a file of random images of its shape."""
    if (Path(os.environ.get(FOLDER_VARIABLE, "")) / f"{name}.npz").is_file() and os.environ.get(FOLDER_VARIABLE):
        return name
    path = folder / f"random-{name}.npz"
    if not path.exists():
        shape, rng = ((32, 32, 3) if name == "cifar10" else (28, 28, 1)), np.random.default_rng(0)
        arrays: dict[str, np.ndarray] = {}
        for part, size in (("train", RANDOM_EXAMPLES), ("test", 1000)):
            arrays[f"{part}_images"] = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
            arrays[f"{part}_labels"] = np.arange(size) % 10
        np.savez(path, allow_pickle=False, **arrays)
    return str(path)


def mapped(name: str, folder: Path) -> str:
    """The same images as a folder of arrays, which a run maps into memory."""
    place = folder / f"mapped-{name}"
    if not place.exists():
        arrays = load_arrays(images_of(name, folder))
        place.mkdir()
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            np.save(place / f"{part}.npy", getattr(arrays, part))
    return str(place)


class Loops:
    """One world: all steps made here train the same network with the same optimizer, unless they say otherwise."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task, self.run = task, task.settings(folder)
        self.world: World = build_world(self.run)
        self.world.network.train()

    def ours(self, sampler: Sampler) -> Step:
        """robuststream's step, the very function that a run calls; a streaming method as it is after its pool was valued."""
        self.world.probe.companions.made = 0  # every sampler's companions are its first
        sampler.start(self.world.pool, self.world.probe)
        if isinstance(sampler, Streaming):
            sampler.warmup_left_, sampler.valued_ = 0, True
        world, recipe = replace(self.world, sampler=sampler), self.run.recipe
        return lambda: take_step(world, recipe)

    def bare(self) -> Step:
        """The floor: the same network and torch's own fused optimizer on one batch that lies ready. Nothing is drawn, fetched or
        looked at."""
        optimizer = self.torchs_sgd()
        network: Callable[[Tensor], Tensor] = self.world.bare.network
        if self.task.compiled:
            network = torch.compile(network, mode="default" if self.task.device == "cpu" else "reduce-overhead")
        images, labels = self.ready()
        computed = self.computed

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with computed():
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()

        return step

    def torchs_sgd(self) -> torch.optim.SGD:
        """The recipe's optimizer as torch has it."""
        recipe = self.run.recipe
        rules = {"momentum": recipe.momentum, "nesterov": True, "weight_decay": recipe.weight_decay}
        return torch.optim.SGD(self.world.parameters, lr=recipe.lr, fused=True, **rules)

    def ready(self) -> tuple[Tensor, Tensor]:
        """One mini-batch on the device, in the network's memory format."""
        images, labels = self.world.train.plain(torch.arange(self.task.batch, device=self.task.device))
        layout = torch.channels_last if self.task.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout), labels

    def computed(self) -> Any:
        """The context of a forward pass in the task's precision."""
        return torch.autocast(self.task.device, dtype=torch.bfloat16) if self.task.fast else contextlib.nullcontext()

    def probe(self) -> Step:
        """A forward pass without gradient over one mini-batch, as samplers pay for it."""
        index = torch.arange(self.task.batch)

        def step() -> None:
            self.world.probe(index)
            self.world.probe.asked.clear()

        return step

    def clear(self) -> None:
        """Forget what the diagnostics keep between two evaluations."""
        self.world.diagnostics.forget()

    # The loops that people write: float32, a network of their own, torchvision's data set with its transforms.

    def data_loader(self, folder: Path) -> Step:
        """DataLoader, shuffled; the loss is read at every step."""
        learner, images = _Learner(self.task, folder), self.torchvision()
        loader = DataLoader(images, self.task.batch, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0))
        batches = _forever(loader)
        return lambda: learner.learn(*next(batches)[:2]).mean().item()

    def weighted_loader(self, folder: Path) -> Step:
        """DataLoader with a WeightedRandomSampler, both made anew after every update of the weights."""
        learner, images = _Learner(self.task, folder), self.torchvision()
        weights, generator = torch.ones(len(images), dtype=torch.float64), torch.Generator().manual_seed(0)

        def step() -> float:
            chooser = WeightedRandomSampler(weights, len(images), generator=generator)  # pyright: ignore[reportArgumentType]
            pixels, labels, index = next(iter(DataLoader(images, self.task.batch, sampler=chooser, generator=generator)))
            loss = learner.learn(pixels, labels)
            weights[index] = loss.double()
            return loss.mean().item()

        return step

    def torchvision(self) -> Images:
        arrays = load_arrays(self.run.recipe.data)
        size, channels = arrays.train_images.shape[1], arrays.train_images.shape[3]
        augment = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()] if self.task.augmented else []
        half = (0.5,) * channels
        convert = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize(half, half)])
        return Images(arrays.train_images, arrays.train_labels, convert)


class Images(datasets.CIFAR10):
    """torchvision's CIFAR10 on any images: its own `__getitem__` (PIL, transforms), followed by the example's number."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose) -> None:
        self.data = images.squeeze(3) if images.shape[3] == 1 else images  # PIL wants grey images without channels
        self.targets, self.transform, self.target_transform = labels.tolist(), transform, None

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (*super().__getitem__(index), index)


class _Learner:
    """The network without our normalising layer, and torch's optimizer as its documentation shows it."""

    def __init__(self, task: Task, folder: Path) -> None:
        bare = build_world(replace(task, fast=False, channels_last=False, augmented=False).settings(folder)).bare
        self.network: nn.Module = bare.network[1].train()  # pyright: ignore[reportIndexIssue]
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE, momentum=0.9, nesterov=True)

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """(n,) losses, without gradient."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels, reduction="none")
        loss.mean().backward()
        self.optimizer.step()
        return loss.detach()


def _forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader
