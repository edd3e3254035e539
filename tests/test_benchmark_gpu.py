"""The benchmarks for a GPU at tiny sizes, on a CPU: arms do what they say, lines are complete. No figure is tested."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))  # where a script finds its neighbours

# ruff: noqa: E402
import images
import side_by_side
import to94
from harness import report
from harness.measure import Rules, interleave

from robuststream.data.load import FOLDER_VARIABLE

TINY = Rules(blocks=2, seconds=1e-5, budget=0.01, least=2, share=0.0, most=float("inf"))

AIRBENCH = """
import torch

class CifarNet(torch.nn.Module):
    def cuda(self): return self
    def compile(self, mode): self.mode = mode

def print_training_details(variables, is_final_entry): raise AssertionError("what it prints is caught")

def main(run, model):
    assert model.mode == "max-autotune"
    data = torch.load("cifar10/train.pt")
    assert data["images"].shape[1:] == (32, 32, 3) and data["labels"].dtype == torch.int64
    for time_seconds in (1.0, 2.0, 2.5):
        print_training_details(locals(), is_final_entry=False)
    return 0.5 if run == "warmup" else 0.9
"""


@pytest.fixture(autouse=True)
def _small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", 200), ("test", 40)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(size) % 10
    np.savez(tmp_path / "cifar10.npz", **arrays)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")


def test_both_reach_for_94_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "airbench94_muon.py").write_text(AIRBENCH)
    words = ["device=cpu", "recipe.compile=false", "recipe.cuda_graphs=false", "recipe.model_settings.width=4", "budget=1"]
    words += ["recipe.validation=0.2", "recipe.batch_size=40", "recipe.evaluations=2"]
    to94.main([*words, "--airbench", str(tmp_path / "airbench94_muon.py"), "--runs", "2", "--write"])
    written = json.loads((tmp_path / "reports" / "to94.json").read_text())
    assert [run["accuracy"] for run in written["runs"][to94.THEIRS]] == [0.9, 0.9]
    assert written["runs"][to94.THEIRS][0] == {"accuracy": 0.9, "seconds": 2.0, "with_reading": 2.5}
    assert len(written["runs"][to94.OURS]) == 2
    assert {target["name"] for target in written["targets"]} == {"mean test accuracy", "mean seconds / airbench94_muon"}
    assert "target <= 1.1x, met" in capsys.readouterr().out


def test_images_of_all_that_run_here(tmp_path: Path) -> None:
    task = replace(images.RESNET, batch=4, width=4, fast=False, device="cpu")
    arms, absent = images.arms(task, tmp_path, timm=None)
    assert set(absent) | set(arms) == {images.BARE, *images.OURS, images.TIMM, images.COMPOSER}
    assert absent[images.TIMM].endswith("see --timm")
    found = {task: interleave(arms, TINY)}
    assert images.images_table(found).count("resnet18 width 4") == len(arms)
    first, timm, _ = images.targets(found)
    assert len(first.figures) == 2
    assert timm.line().endswith("not measured: it did not run here")


def test_runs_side_by_side_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    side_by_side.main(["--device", "cpu", "--jobs", "2", "--runs", "2", "--write", "budget=1", "recipe.train_size=200"])
    (speed,) = json.loads((tmp_path / "reports" / "side_by_side.json").read_text())["speeds"]
    assert (speed["jobs"], speed["runs"]) == (2, 2)
    assert speed["seconds"] > speed["training"] > 0.0
    assert "runs per minute" in capsys.readouterr().out
