"""The trainer's benchmark at tiny sizes: arms do what they say, lines are complete. No figure is tested."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))  # where a script finds its neighbours

# ruff: noqa: E402
import trainer
from harness import measure, report
from harness.measure import Rules, Timing
from harness.targets import AtLeast, Figure
from loops import Loops, Task
from trainer_targets import BARE, LOADER, WEIGHTED

from robuststream.data.load import FOLDER_VARIABLE
from robuststream.samplers.plb import PLB

TINY = Rules(blocks=2, seconds=1e-5, budget=0.01, least=2, share=0.0)  # any share: a test machine is seldom quiet
MLP = Task("mlp", 8, train_size=80)


@pytest.fixture(autouse=True)
def _random_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr("loops.RANDOM_EXAMPLES", 200)


def test_our_arm_is_the_step_of_a_run(tmp_path: Path) -> None:
    """PLB draws from values at once, learns, stores what it saw, and is charged for it."""
    loops = Loops(MLP, tmp_path)
    sampler = PLB()
    step = loops.ours(sampler)
    before = loops.world.bare.state_dict()["network.1.body.1.weight"].clone()
    step()
    assert loops.world.ledger.forwards == {"train": 8, "probe": 0, "perturb": 0}
    assert bool((sampler.tree_.values != 1.0).any())
    assert not torch.equal(before, loops.world.bare.state_dict()["network.1.body.1.weight"])


def test_people_learn_from_transformed_images_and_weights_follow_losses(tmp_path: Path) -> None:
    loops = Loops(Task("mlp", 8, augmented=True), tmp_path)
    image, label, index = loops.torchvision()[3]
    assert image.shape == (1, 28, 28)
    assert -1.0 <= float(image.min()) < 0.0
    assert (label, index) == (3, 3)
    assert isinstance(loops.data_loader(tmp_path)(), float)
    assert isinstance(loops.weighted_loader(tmp_path)(), float)


def test_a_target_from_below_names_its_smallest_figure() -> None:
    figures = (Figure(2.6, 2.5, "here"), Figure(2.4, 2.5, "there"))
    assert AtLeast("t", figures).line() == "t: worst 2.4x (there), target >= 2.5x, NOT MET (in 1 of 2 cells)"
    assert AtLeast("t", figures[:1]).verdict == "met"
    assert AtLeast("t", (), reason="no time").line() == "t: not measured: no time"


def test_a_line_per_target_and_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr("rates.SIDE", 64)
    trainer.main(
        ["--write"], TINY, ((MLP, replace(MLP, augmented=True)), (MLP, replace(MLP, fast=True)), ((MLP, False),), (MLP,))
    )
    printed = capsys.readouterr().out
    for name in (
        "throughput / bare step",
        "crop and flip",
        "fp32",
        "bf16",
        "from disk / from memory",
        "composer, keep 0.5 / uniform",
        "composer-reusing, keep 0.5 / uniform",
    ):
        # A busy machine's figures are refused, each with its cause.
        assert re.search(f"{name}: (worst|not measured: (?!not in this run))", printed), name
    assert f"throughput / {LOADER}, paper-cnn: not measured: not in this run" in printed
    assert f"throughput / {WEIGHTED}, paper-cnn: not measured: not in this run" in printed
    written = json.loads((tmp_path / "trainer.json").read_text())
    assert len(written["targets"]) == 10
    charged = {row["sampler"]: row["charged"] for row in written["samplers"]}
    assert charged["uniform"] == charged["plb"] == 1.0
    assert charged["plb, refresh post"] > 1.0
    assert "## Machine" in (tmp_path / "trainer.md").read_text()


@pytest.mark.parametrize(("got", "told"), [(0.3, ""), (0.03, "of its core this process got 10%")])
def test_a_busy_machine_is_told_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch, got: float, told: str) -> None:
    """Of 0.3 seconds by the wall clock the process had so many of a core."""
    clocks = {"perf_counter": (0.0, 0.3, 0.3), "process_time": (0.0, got)}
    monkeypatch.setattr(measure, "time", SimpleNamespace(**{name: iter(ticks).__next__ for name, ticks in clocks.items()}))
    said = measure.busy(0.3)
    assert told in said
    assert bool(said) == bool(told)


def test_what_was_refused_is_no_figure() -> None:
    timings = {MLP: {BARE: Timing(1, refused="the core was shared"), "uniform": Timing(1, [1.0]), "PLB": Timing(1, [1.0])}}
    line = trainer.targets(timings, {}, {}, [])[0].line()
    assert line.startswith("throughput / bare step: not measured: uniform, mlp, batch 8")
