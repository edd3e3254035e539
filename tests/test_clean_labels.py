"""No object that a sampler can reach holds the clean labels: this test tries, from everything that the trainer hands over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest
import torch

from _runs import settings
from robuststream import registry
from robuststream.samplers.uniform import Uniform
from robuststream.training import loop
from robuststream.training.world import World, build_world

SAMPLERS = registry.names("samplers")


def reachable(*roots: object) -> Iterator[object]:
    """Everything that attributes, items and closures lead to; not what only a module's globals or a class hold."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, (ModuleType, type, FrameType)):
            continue
        seen.add(id(thing))
        yield thing
        waiting.extend(thing.__closure__ or () if isinstance(thing, FunctionType) else gc.get_referents(thing))


def holds(roots: tuple[object, ...], labels: torch.Tensor) -> bool:
    tensors = (thing for thing in reachable(*roots) if isinstance(thing, torch.Tensor))
    return any(tensor.shape == labels.shape and torch.equal(tensor.to(labels.dtype), labels) for tensor in tensors)


def clean_labels(world: World) -> torch.Tensor:
    """As the trainer itself can work them out: the observed label, but for those that the diagnostics know to be wrong."""
    clean = build_world(settings("uniform", "clean")).pool.labels
    assert torch.equal(clean != world.pool.labels, world.diagnostics.wrong)
    return clean


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_that_is_handed_over_leads_to_clean_labels(sampler: str, tmp_path: Path) -> None:
    run = loop._Run(settings(sampler, "symmetric-40"), tmp_path, loop.Watch())
    run.execute()
    world = run.world
    handed = (world.sampler, world.pool, world.probe)
    assert not holds(handed, clean_labels(world))
    assert not holds(handed, world.diagnostics.wrong.to(torch.int64))
    assert holds(handed, world.pool.labels)  # the walk does find what is there


def test_the_walk_finds_what_a_closure_hides() -> None:
    labels = torch.arange(7)
    box: dict[str, Any] = {"deep": [lambda: labels]}
    assert holds((box,), labels)


def test_a_run_does_not_depend_on_the_clean_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same observed labels, other clean ones: the same draws, in every step."""
    drawn: list[list[torch.Tensor]] = []
    original = Uniform.draw

    def draw(self: Uniform, probe: Any, progress: float) -> Any:
        batch = original(self, probe, progress)
        drawn[-1].append(batch.index)
        return batch

    monkeypatch.setattr(Uniform, "draw", draw)
    for name, change in (("a", 0), ("b", 1)):
        drawn.append([])
        run = loop._Run(settings("uniform", "symmetric-40"), tmp_path / name, loop.Watch())
        (tmp_path / name).mkdir()
        run.world.diagnostics.wrong = run.world.diagnostics.wrong.roll(change)
        run.execute()
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
