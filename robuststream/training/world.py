"""Setting up a run: everything that the loop works with, built from the run's settings alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robuststream import registry
from robuststream.config import RunSettings
from robuststream.contracts import Pool, Sampler, Scenario, Split
from robuststream.data.batches import Batches
from robuststream.data.splits import load_splits
from robuststream.models._build import build
from robuststream.training.clock import Clock
from robuststream.training.diagnostics import Diagnostics
from robuststream.training.evaluation import TestSet
from robuststream.training.label_facts import label_facts
from robuststream.training.ledger import Cost, Ledger, Metered
from robuststream.training.optimizers import build_optimizer
from robuststream.training.precision import Precise
from robuststream.training.probe import PoolProbe
from robuststream.training.streams import stream, stream_seed


@dataclass
class World:
    """One run's parts. A sampler is handed `pool` and `probe` and nothing else of it."""

    sampler: Sampler
    scenario: Scenario
    pool: Pool
    probe: PoolProbe
    bare: nn.Module  # the network itself: evaluation passes are not charged
    network: Metered
    optimizer: torch.optim.Optimizer
    train: Batches
    validation: Batches
    test: TestSet
    clock: Clock
    ledger: Ledger
    diagnostics: Diagnostics
    generators: dict[str, torch.Generator]
    facts: dict[str, Any]  # data and labels, as a result records them


def build_world(run: RunSettings) -> World:
    """Arms of one seed get the same split, initial weights and corrupted labels (rule 1)."""
    recipe, seed, device = run.recipe, run.seed, torch.device(run.device)
    clock = Clock(device)
    splits = load_splits(
        recipe.data,
        validation=recipe.validation,
        train_size=recipe.train_size,
        seed=stream_seed(seed, "split"),
        device=device,
    )
    scenario = registry.load("scenarios", run.scenario.kind, Scenario)(**run.scenario.settings)
    sampler = registry.load("samplers", run.sampler.kind, Sampler)(**run.sampler.settings)
    observed = scenario.corrupt(splits.train, stream(seed, "noise"))
    generators = {purpose: stream(seed, purpose, device) for purpose in ("augmentation", "dropout")}
    train = Batches(observed, crop=recipe.augment.crop, flip=recipe.augment.flip, generator=generators["augmentation"])
    pool = Pool(
        size=len(observed.labels),
        batch_size=recipe.batch_size,
        num_classes=observed.num_classes,
        labels=observed.labels.clone(),
        seed=stream_seed(seed, "sampler"),
    )
    bare = _network(run, splits.train, generators["dropout"])
    dummy = torch.zeros((recipe.batch_size, *observed.images.shape[1:]), device=device)
    if recipe.compile:
        bare.warm_up(dummy, generators["dropout"])
    ledger = Ledger(recipe.budget, _cost(run, splits.train, dummy), pool.size, lambda: clock.training)
    network = Metered(bare, ledger, clock)
    probe = PoolProbe(network, train, recipe.probe_mode)
    return World(
        sampler=sampler,
        scenario=scenario,
        pool=pool,
        probe=probe,
        bare=bare,
        network=network,
        optimizer=build_optimizer(recipe, bare),
        train=train,
        validation=Batches(splits.validation),
        test=TestSet(splits.test),
        clock=clock,
        ledger=ledger,
        diagnostics=Diagnostics(sampler, probe, train, splits.train.labels, stream(seed, "diagnostics")),
        generators=generators,
        facts={
            "data": {
                "name": recipe.data,
                "num_classes": observed.num_classes,
                "train": pool.size,
                "validation": len(splits.validation.labels),
                "test": len(splits.test.labels),
                "hash": splits.data_hash,
            },
            "labels": label_facts(observed.labels, splits.train.labels, observed.num_classes),
        },
    )


def _network(run: RunSettings, train: Split, dropout: torch.Generator) -> Precise:
    mean, std = channel_statistics(train.images)
    network = build(
        run.recipe.model,
        run.recipe.model_settings,
        shape=(train.images.shape[1], train.images.shape[2], train.images.shape[3]),
        num_classes=train.num_classes,
        mean=mean,
        std=std,
        init_seed=stream_seed(run.seed, "init"),
        dropout_generator=dropout,
        device=train.images.device,
    )
    return Precise(network, run.recipe, train.images.device.type)


def _cost(run: RunSettings, train: Split, dummy: Tensor) -> Cost:
    """FLOPs per example, counted on an uncompiled copy of the network; loads every kernel before the clock starts (rule 3)."""
    plain = run.model_copy(update={"recipe": run.recipe.model_copy(update={"compile": False})})
    return Cost.of(_network(plain, train, torch.Generator(dummy.device)), dummy)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of (N, C, H, W) uint8 images in [0, 1]; a constant channel is left at its scale (1)."""
    levels = torch.arange(256, dtype=torch.float64) / 255.0
    counts = torch.stack([torch.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
    share = counts.cpu().double() / counts.cpu().sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    deviation = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()
