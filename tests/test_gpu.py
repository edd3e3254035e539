"""The step on a GPU: nothing in it waits for the host. Seen there by torch's own watch, and here by ours, on the same code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from _runs import SMALL, settings
from robuststream import entropy, records, registry
from robuststream.checks.waits import Waits
from robuststream.config import RunSettings
from robuststream.data import batches
from robuststream.errors import UserError
from robuststream.study import nursery
from robuststream.study.preflight import at_once
from robuststream.study.process import take_gpu
from robuststream.sumtree import tree
from robuststream.training.device import on_device, placed
from robuststream.training.guard import untouched_globals
from robuststream.training.loop import train
from robuststream.training.step import take_step
from robuststream.training.world import build_world

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

WAITING = ("adaptive-k", "katharopoulos", "ordered-sgd", "selective-backprop")
"""Their number of examples depends on the data, and they say so."""

SAMPLERS = [name for name in registry.names("samplers") if name not in WAITING]
FAST = ("recipe.precision=bf16", "recipe.channels_last=true")
EARLY = {"active-bias": ("burn_in=0.0",), "ent-elb": ("warmup_epochs=1.0",)}
"""Settings with which all that a sampler ever does is done in the second epoch."""

WAYS = {
    "plain": (),
    "fast": FAST,
    "augmented": ("recipe.augment.crop=1", "recipe.augment.flip=true", "recipe.augment.alternate=true"),
    "muon": ("recipe.optimizer=muon", "recipe.lr=0.1"),
    "clipped": ("recipe.clip_gradient=1.0",),
    "refreshed": ("samplers.plb.refresh=post", "samplers.plb.refresh_oldest=8"),
    "smoothed": ("samplers.plb.learner=label-smoothing",),
    "co-taught": ("samplers.plb.learner=co-teaching",),
    "attacked": ("scenarios=adversarial-pgd",),
    "a placebo": ("samplers.plb.placebo=true",),
}


def in_the_middle(sampler: str, *overrides: str) -> RunSettings:
    """A run of epochs of 28 steps, so that a few of the second can be watched far from its borders."""
    early = (f"samplers.{sampler}.{each}" for each in EARLY.get(sampler, ()))
    return settings(sampler, "symmetric-40", "recipe.train_size=1000", "budget=9", *early, *overrides)


def steps(run: RunSettings) -> Callable[[], None]:
    """Steps of a run that is in its second epoch."""
    world = build_world(run)
    world.sampler.start(world.pool, world.probe)
    world.learner.start(world.pool, world.probe)
    world.network.train()

    def step() -> None:
        world.clock.to("draw")
        take_step(world, run.recipe)

    for _ in range(36):
        step()
    assert getattr(world.sampler, "valued_", True)
    return step


@pytest.fixture
def no_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, nothing is done by our C code."""

    def absent(*_: object, **__: object) -> None:
        raise UserError("not here")

    monkeypatch.setattr(batches, "NativeFetch", absent)
    monkeypatch.setattr(tree, "NativeWalk", absent)
    monkeypatch.setattr(entropy, "_library", lambda: None)


def found_in(run: RunSettings) -> list[str]:
    waits, step = Waits(), steps(run)
    with waits.watching():
        for _ in range(8):
            step()
    return waits.take()


@pytest.mark.usefixtures("no_native")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_of_a_sampler_would_wait_for_a_gpu(sampler: str) -> None:
    assert found_in(in_the_middle(sampler)) == []


@pytest.mark.usefixtures("no_native")
@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_training_would_wait_for_a_gpu(way: str) -> None:
    assert found_in(in_the_middle("plb", *WAYS[way])) == []


@pytest.mark.usefixtures("no_native")
def test_a_step_that_would_wait_is_seen() -> None:
    assert any("katharopoulos.py" in each for each in found_in(in_the_middle("katharopoulos")))


def test_a_gpus_generators_exist_before_they_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every first run of a process would seem to have changed them, at its end."""
    begun: list[bool] = []
    monkeypatch.setattr(torch.cuda, "init", lambda: begun.append(True))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(begun))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [torch.zeros(8, dtype=torch.uint8)])
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    with on_device("cuda"), untouched_globals("a run"):
        assert begun


def test_what_lay_on_a_gpu_comes_to_this_processs_own() -> None:
    class Storage:
        def cuda(self) -> str:
            return "on the current GPU"

    assert placed(Storage(), "cuda:3") == "on the current GPU"
    here = Storage()
    assert placed(here, "cpu") is here


def test_processes_side_by_side_take_turns_at_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for place in range(5):
        take_gpu("cuda", place)
    take_gpu("cuda:1", 0)
    take_gpu("cpu", 0)
    assert taken == [0, 1, 0, 1, 0]


def test_small_runs_fill_a_gpu_and_large_ones_have_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "cores", lambda: 16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * 10**9, 80 * 10**9))
    assert at_once(torch.device("cpu"), 1e12) == 16
    assert at_once(torch.device("cuda"), 1e8) == 10  # five on each, by its memory
    assert at_once(torch.device("cuda", 1), 1e8) == 5
    assert at_once(torch.device("cuda"), 1e12) == 2
    assert at_once(torch.device("cuda", 1), 1e12) == 1


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_of_a_sampler_waits_on_a_gpu(sampler: str) -> None:
    unwaited(steps(in_the_middle(sampler, "device=cuda")))


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("way", [*WAYS, "graphs"])
def test_no_way_of_training_waits_on_a_gpu(way: str) -> None:
    graphs = (*FAST, "recipe.compile=true", "recipe.cuda_graphs=true")
    unwaited(steps(in_the_middle("plb", "device=cuda", *WAYS.get(way, graphs))))


def unwaited(step: Callable[[], None]) -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("sampler", sorted(registry.names("samplers")))
def test_every_sampler_learns_on_a_gpu_as_on_a_cpu(sampler: str, tmp_path: Path) -> None:
    """Other generators and other sums: not the same bits, but the same learning, and the same account."""
    found = {}
    for device in ("cpu", "cuda"):
        (tmp_path / device).mkdir()
        run = settings(sampler, "clean", "recipe.train_size=800", "budget=8", f"device={device}")
        found[device] = train(run, tmp_path / device)
    cpu, cuda = found["cpu"], found["cuda"]
    assert cuda["totals"]["flops_per_forward"] == cpu["totals"]["flops_per_forward"]
    assert cuda["last"]["test_accuracy"] == pytest.approx(cpu["last"]["test_accuracy"], abs=0.1)


@pytest.mark.gpu
@on_gpu
def test_runs_side_by_side_share_a_gpu(tmp_path: Path) -> None:
    words = ["noisy-labels", "samplers=uniform,plb", "scenarios=clean", *SMALL, "seeds=3", "device=cuda"]
    command = [sys.executable, "-m", "robuststream", "bench", *words, "--jobs", "3", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    _, runs = records.read_study(tmp_path)
    assert len(runs) == 6
    assert all(run.result["provenance"]["device"] == torch.cuda.get_device_name() for run in runs)


@pytest.mark.gpu
@on_gpu
def test_torchrun_on_every_gpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(torch.cuda.device_count()), "-m", "robuststream.study.together", "noisy-labels", "samplers=plb"]
    batch = f"recipe.batch_size={8 * torch.cuda.device_count()}"
    command += ["scenarios=clean", *SMALL, batch, "device=cuda", "--out", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert said.returncode == 0, said.stderr
    _, runs = records.read_study(tmp_path)
    assert len(runs) == 1
