"""Checks of how a sampler behaves: its settings, its refusals, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import functools
import random
import re
import typing
from typing import Any

import numpy as np
import torch
import yaml

from robuststream.checks.draws import first_difference
from robuststream.checks.toy import BATCH_SIZE, CLASSES, EPOCH, SPAN, Factory, ToyLoop, ToyWorld
from robuststream.checks.waits import Waits
from robuststream.contracts import Sampler
from robuststream.errors import UserError

BORDERS_PER_EPOCH = 2
"""Draws per N/n steps that may wait: one at the border of an epoch, and epochs that hide up to half are half as long."""


def hyperparameters_round_trip(factory: Factory) -> str:
    """Settings survive YAML, the constructor stores them as given, and a value of a wrong type is refused."""
    sampler = factory()
    kind, settings = type(sampler), sampler.settings()
    forgotten = [name for name, value in vars(kind).items() if isinstance(value, dataclasses.Field)]
    assert not forgotten, f"'{forgotten[0]}' is no hyperparameter yet; put @dataclass above class {kind.__name__}"
    for name, given in _given(factory, sampler).items():
        assert settings[name] == given, f"the constructor makes {name}={settings[name]!r} of {given!r}; store it as given"
    try:
        loaded = yaml.safe_load(yaml.safe_dump(settings))
    except yaml.YAMLError as error:
        raise AssertionError(f"settings must be numbers, text, lists and mappings: {error}") from None
    again = kind.from_settings(loaded, kind.__name__).settings()
    assert again == settings, f"after YAML the settings are {again}, they were {settings}; use types that YAML knows"
    hints = typing.get_type_hints(kind)
    for name in (name for name in settings if hints[name] is not Any):
        try:
            kind(**{**settings, name: object()})
        except UserError:
            continue
        raise AssertionError(f"{name} accepts a value of any type; begin __post_init__ with super().__post_init__()")
    return ""


def _given(factory: Factory, sampler: Sampler) -> dict[str, Any]:
    """What the constructor was given: defaults, and the settings of a `functools.partial`."""
    defaults = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default for field in sampler.fields()
    }
    given = factory.keywords if isinstance(factory, functools.partial) else {}
    return {name: value for name, value in {**defaults, **given}.items() if value is not dataclasses.MISSING}


def never_waits_for_host(factory: Factory) -> str:
    """Inside an epoch neither draw nor observe reads a value back from the device, unless waits_for_host says why."""
    loop, waits = ToyLoop(factory, ToyWorld()), Waits()
    waited: list[str] = []  # the first wait of every draw that waited
    for _ in range(SPAN):
        with waits.watching():
            batch = loop.draw()
        waited += waits.take()[:1]
        signals = loop.learn(batch)
        with waits.watching():
            loop.observe(signals)
        found = waits.take()
        assert not found, f"observe waits for the device: {found[0]}; keep the value on the device until a draw needs it"
    reason = loop.sampler.waits_for_host
    if reason:
        assert waited, f"declares that it waits ('{reason}') but does not in {SPAN} steps; leave waits_for_host out"
        return f"waits in {len(waited)} of {SPAN} draws, as declared: {reason}"
    borders = BORDERS_PER_EPOCH * SPAN // EPOCH
    assert len(waited) <= borders, (
        f"{len(waited)} of {SPAN} draws wait for the device: {waited[-1]}; allowed: {borders}, at epochs' borders; use "
        "operations of fixed shape, or say in waits_for_host why not"
    )
    return f"waits in {len(waited)} of {SPAN} draws, at epochs' borders" if waited else ""


def clean_labels_out_of_reach(factory: Factory) -> str:
    """Other clean labels in the trainer's hands, same observed labels: the draws are the same, bit for bit."""
    clean = ToyWorld().probe.labels
    first, second = (ToyLoop(factory, ToyWorld(), clean_labels=c).run(SPAN) for c in (clean, (clean + 1) % CLASSES))
    step = first_difference(first, second)
    assert step is None, (
        f"draws depend on the clean labels (or on chance beyond the seed, see same-seed-same-draws) from step {step} on; "
        "learn about examples from pool, probe and signals alone"
    )
    return ""


def small_pool_refused(factory: Factory) -> str:
    """A pool of n - 1 examples is refused at the start, in a line that tells both numbers."""
    world, sampler = ToyWorld(size=BATCH_SIZE - 1), factory()
    refusal = ""
    try:
        sampler.start(world.pool, world.probe)
    except UserError as error:
        refusal = str(error)
    assert refusal, (
        f"started on {BATCH_SIZE - 1} examples with mini-batches of {BATCH_SIZE}; begin start with super().start(pool, probe)"
    )
    missing = {str(BATCH_SIZE), str(BATCH_SIZE - 1)} - set(re.findall(r"\d+", refusal))
    assert not missing, f"the refusal '{refusal}' does not tell {' and '.join(sorted(missing))}"
    return ""


def leaves_globals_alone(factory: Factory) -> str:
    """Global generators, flags, threads, and the modes of the network are as they were."""
    world = ToyWorld()
    before = _globals(world)
    ToyLoop(factory, world).run(SPAN)
    after = _globals(world)
    changed = [name for name, value in before.items() if value != after[name]]
    assert not changed, f"changed: {', '.join(changed)}; draw from self.generator_, and set nothing that others share"
    return ""


def _globals(world: ToyWorld) -> dict[str, Any]:
    return {
        "torch's global generator": torch.get_rng_state().tolist(),
        "numpy's global generator": repr(np.random.get_state()),  # noqa: NPY002 -- only read
        "Python's global generator": random.getstate(),
        "the default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "torch.use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "the matmul precision": torch.get_float32_matmul_precision(),
        "torch.backends.cudnn's flags": [
            getattr(torch.backends.cudnn, flag) for flag in ("enabled", "benchmark", "deterministic", "allow_tf32")
        ],
        "the network's train or eval mode": [module.training for module in world.probe.network.modules()],
    }


def observes_without_altering(factory: Factory) -> str:
    """Neither signals nor the pool's labels are written to, in observe or in the draw after it."""
    loop = ToyLoop(factory, ToyWorld())
    labels = loop.world.pool.labels.clone()
    batch = loop.draw()
    for _ in range(SPAN):
        signals = loop.learn(batch)
        parts = {name: getattr(signals, name) for name in ("index", "labels", "logits", "loss")}
        before = {name: part.clone() for name, part in parts.items()}
        loop.observe(signals)
        batch = loop.draw()
        altered = [f"signals.{name}" for name, part in parts.items() if not part.equal(before[name])]
        altered += [] if loop.world.pool.labels.equal(labels) else ["pool.labels"]
        assert not altered, f"{' and '.join(altered)} written to in place; others read it too, so clone it first"
    return ""
