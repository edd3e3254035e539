"""A run in two processes is the run of one, to rounding: torchrun with gloo, as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from _runs import SMALL
from robuststream import records
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.training.loop import train

WORDS = ["noisy-labels", "samplers=plb", "scenarios=symmetric-40", *SMALL, "recipe.augment.crop=1"]
WORDS += ["samplers.plb.warmup_epochs=0.5"]


def torchrun(out: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "robuststream.study.together", *WORDS, *overrides, "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)


def test_two_processes_are_one_on_the_union_of_their_slices(tmp_path: Path) -> None:
    (run,) = plan(load_study(WORDS[0], WORDS[1:]), tmp_path / "alone")
    run.folder.mkdir(parents=True)
    alone = train(run.settings, run.folder)
    expected = records.read_evaluations(run.folder / "records.jsonl")

    said = torchrun(tmp_path / "two")
    assert said.returncode == 0, said.stderr
    (run,) = plan(load_study(WORDS[0], WORDS[1:]), tmp_path / "two")
    assert run.finished
    found = records.read_evaluations(run.folder / "records.jsonl")
    assert len(found) == len(expected)
    assert records.read_json(run.folder / "result.json", ("totals",))["totals"] == alone["totals"]
    for ours, theirs in zip(found, expected, strict=True):
        for figure in ("step", "forwards", "backwards", "flops", "lr", "wrong_drawn", "age"):
            assert ours[figure] == theirs[figure], figure
        for figure in ("validation_loss", "train_loss", "concordance", "ess"):
            known = theirs[figure] is not None
            assert ours[figure] == (pytest.approx(theirs[figure], rel=2e-3) if known else None), figure


def test_batch_norms_see_the_mini_batch_of_all_processes(tmp_path: Path) -> None:
    """Those of a slice would be others than those of the whole; here they agree to rounding, and so does what is learned."""
    words = ("recipe.model=resnet18", "recipe.model_settings.width=2", "recipe.evaluations=2", "budget=1")
    (run,) = plan(load_study(WORDS[0], [*WORDS[1:], *words]), tmp_path / "alone")
    run.folder.mkdir(parents=True)
    train(run.settings, run.folder)
    said = torchrun(tmp_path / "two", *words)
    assert said.returncode == 0, said.stderr
    networks = [torch.load(next((tmp_path / name).glob("runs/*/network.pt")), weights_only=True) for name in ("alone", "two")]
    for name, value in networks[0].items():
        torch.testing.assert_close(networks[1][name], value, rtol=2e-3, atol=2e-4, msg=lambda told, name=name: f"{name}: {told}")


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    said = torchrun(tmp_path, "recipe.batch_size=31")
    assert said.returncode != 0
    assert "a mini-batch of 31 examples is not possible with 2 processes" in said.stderr
