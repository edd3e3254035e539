"""Setting up a run: everything that the loop works with, built from the run's settings alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robuststream import registry
from robuststream.config import RunSettings
from robuststream.contracts import Learner, Pool, Sampler, Scenario
from robuststream.data.batches import Batches
from robuststream.data.splits import splits_of
from robuststream.data.stored import AnyBatches, Unseen, batches_of
from robuststream.samplers._placebo import Placebo
from robuststream.training.blueprint import Blueprint
from robuststream.training.clock import Clock
from robuststream.training.companion import Companions
from robuststream.training.diagnostics import Diagnostics
from robuststream.training.draws import Draws
from robuststream.training.evaluation import TestSet
from robuststream.training.label_facts import clean_labels, label_facts
from robuststream.training.ledger import Ledger, Metered
from robuststream.training.optimizers import Optimizer, build_optimizer
from robuststream.training.precision import Precise
from robuststream.training.probe import PoolProbe
from robuststream.training.rehearsal import rehearse
from robuststream.training.reuse import require_reusable
from robuststream.training.robustness import possible
from robuststream.training.streams import stream, stream_seed
from robuststream.training.team import Team, share_statistics


@dataclass
class World:
    """One run's parts. A sampler is handed `pool` and `probe` and nothing else of it."""

    sampler: Sampler
    learner: Learner
    scenario: Scenario
    pool: Pool
    probe: PoolProbe
    bare: Precise  # the network itself: evaluation passes are not charged
    network: Metered
    team: Team  # the processes that the run is in
    hostile: bool  # the scenario looks at mini-batches: images are fetched in [0, 1], else as the network wants them
    model: Any  # the network as the scenario learns with it: images (n, C, H, W) as fetched to logits (n, K)
    parameters: list[Tensor]
    optimizer: Optimizer
    train: AnyBatches
    draws: Draws
    validation: Batches
    test: TestSet
    clock: Clock
    ledger: Ledger
    diagnostics: Diagnostics
    generators: dict[str, torch.Generator]
    facts: dict[str, Any]  # data and labels, as a result records them


def build_world(run: RunSettings, team: Team | None = None) -> World:
    """Arms of one seed get the same split, initial weights and corrupted labels (rule 1)."""
    recipe, seed, device, team = run.recipe, run.seed, torch.device(run.device), team or Team()
    clock = Clock(device)
    splits = splits_of(recipe, stream_seed(seed, "split"), device)
    if recipe.robust is not None:
        possible(recipe.robust, splits.train.num_classes)
    scenario = registry.load("scenarios", run.scenario.kind, Scenario)(**run.scenario.settings)
    sampler = registry.load("samplers", run.sampler.kind, Sampler)(**run.sampler.settings)
    learner = registry.load("learners", run.learner.kind, Learner)(**run.learner.settings) if run.learner else _plain()
    if run.sampler.placebo:
        sampler = Placebo(sampler, stream(seed, "placebo", device))
    with Unseen(f"scenario '{run.scenario.label}'") if recipe.stored else nullcontext():
        observed = scenario.corrupt(splits.train, stream(seed, "noise"))
        scenario.start(observed, stream(seed, "attack", device))
    clean = clean_labels(observed, splits.train)
    generators = {purpose: stream(seed, purpose, device) for purpose in ("augmentation", "dropout")}
    train = batches_of(observed, recipe.augment, generators["augmentation"])
    pool = Pool(
        size=len(observed.labels),
        batch_size=recipe.batch_size,
        num_classes=observed.num_classes,
        labels=observed.labels.clone(),
        seed=stream_seed(seed, "sampler"),
    )
    blueprint = Blueprint.of(recipe, splits.train)
    bare = blueprint.network(stream_seed(seed, "init"), generators["dropout"])
    if sampler.reuses:
        require_reusable(recipe, bare, scenario.hostile or scenario.replays > 1, team.size)
    share_statistics(bare, team, recipe.compile)
    if recipe.compile or device.type != "cpu":
        rehearse(bare, train, recipe, recipe.batch_size // team.size, not scenario.hostile, generators)
    ledger = Ledger(recipe.budget, blueprint.cost(), pool.size, lambda: clock.training)
    network = Metered(bare, ledger, clock, team)
    probe = PoolProbe(network, train, recipe.probe_mode, Companions(blueprint, train, ledger, clock, seed))
    return World(
        sampler=sampler,
        learner=learner,
        scenario=scenario,
        pool=pool,
        probe=probe,
        bare=bare,
        network=network,
        team=team,
        hostile=scenario.hostile,
        model=network if scenario.hostile else partial(network, ready=True),
        parameters=[parameter for parameter in bare.parameters() if parameter.requires_grad],
        optimizer=build_optimizer(recipe, bare),
        train=train,
        draws=Draws(train, recipe.lookahead),
        validation=Batches(splits.validation),
        test=TestSet(splits.test, recipe.views),
        clock=clock,
        ledger=ledger,
        diagnostics=Diagnostics(sampler, probe, train, clean, stream(seed, "diagnostics")),
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
            "labels": label_facts(observed, clean),
            "corruption": scenario.facts(),
        },
    )


def _plain() -> Learner:
    return registry.load("learners", "cross-entropy", Learner)()
