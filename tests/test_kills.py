"""Twenty kills of a small study at random moments, half of them with torn files (benchmarks/kill.py does two hundred)."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest
import torch

from _runs import settings, without_time
from robuststream import records
from robuststream.training import checkpoint
from robuststream.training.checkpoint import Checkpoints, pack
from robuststream.training.loop import Watch, _Run, train
from robuststream.training.step import take_step

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import kill  # noqa: E402
from reliability.lives import Life  # noqa: E402

STUDY = ["seeds=1", "recipe.train_size=150", "recipe.evaluations=4", "budget=2", "scenarios=symmetric-40"]
STUDY += ["samplers=uniform,plb,kakurenbo,selective-backprop"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds a study's workers in /proc")
def test_a_study_killed_twenty_times_ends_as_one_that_was_not(tmp_path: Path) -> None:
    options = argparse.Namespace(jobs=1, every=0.05, longest=0.6, anew=False)
    Life(tmp_path / "undisturbed", STUDY, 1, 0.05).join()
    table, faults = kill.disturb(tmp_path / "killed", STUDY, 20, random.Random(0), options)
    assert len(table) == 20
    assert sum(bool(line.torn) for line in table) >= 5
    assert {line.what for line in table} == {"study", "worker"}
    assert faults + kill.differences(tmp_path / "undisturbed", tmp_path / "killed") + kill.leftovers(tmp_path / "killed") == []
    assert len(kill.results(tmp_path / "killed")) == 4


def test_a_repetition_would_be_seen_and_no_other(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "uniform"
    run.mkdir(parents=True)
    records.write_json(run / "result.json", {"last": 0.5})
    done = kill.stamps(tmp_path)
    assert kill.repeats(done, tmp_path) == []
    os.utime(run / "result.json", ns=(0, 0))
    assert kill.repeats(done, tmp_path) == ["uniform was run again"]
    os.truncate(run / "result.json", 5)
    assert kill.stamps(tmp_path) == {}  # cut short, it is to be computed again


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.5), ("b", 0.5000001)):
        run = tmp_path / name / "runs" / "uniform"
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps({"last": accuracy, "seconds": 1.0}))
    assert kill.differences(tmp_path / "a", tmp_path / "a") == []
    assert kill.differences(tmp_path / "a", tmp_path / "b") == ["uniform differs"]


# -- what makes it so --------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """As good as a kill: the run saves nothing any more."""


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with two checkpoints, of successive evaluations, and a record that came after both."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "PACE", float("inf"))
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    seen = 0

    def evaluated(record: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise Killed

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(Killed):
        train(settings("plb"), folder, Watch(evaluated=evaluated))
    assert Checkpoints(folder).path.exists()
    assert Checkpoints(folder).older.exists()
    return folder


def _ends_alike(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = train(settings("plb"), tmp_path / "undisturbed")
    assert without_time(train(settings("plb"), folder)) == without_time(undisturbed)
    first, second = (records.read_evaluations(path / "records.jsonl") for path in (folder, tmp_path / "undisturbed"))
    assert [without_time(row) for row in first] == [without_time(row) for row in second]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_torn_checkpoint_is_known_by_its_checksum_and_the_older_taken(damage: str, stopped: Path, tmp_path: Path) -> None:
    saved = Checkpoints(stopped)
    newest = saved.load()
    content = saved.path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    saved.path.write_bytes({"cut": content[:middle], "bit": flipped, "empty": b""}[damage])
    older = saved.load()
    assert newest is not None
    assert older is not None
    assert 0 < older["ledger"]["steps"] < newest["ledger"]["steps"]
    assert saved.path.with_suffix(".damaged").exists()
    _ends_alike(stopped, tmp_path)


@pytest.mark.parametrize(
    ("rows", "sound"),
    [
        (['{"step": 1}', '{"step": 2}'], 2),
        (['{"step": 1}', "", '{"step": 2}'], 2),
        (['{"step": 1}', '{"step": 1}'], 1),  # does not go on
        (['{"step": 1}, {"step": 2}'], 0),  # two on a line are no line of JSON
        (['{"step": 1, "a": [2', "3]}"], 0),  # nor is one on two lines
        (['{"step": 1}', '{"step": 2, "a": [3', "4]}, {}"], 1),
        (['{"step": 1}', '{"st'], 1),
        (['{"step": "one"}'], 0),
        (["[]"], 0),
    ],
)
def test_records_are_sound_line_by_line(rows: list[str], sound: int, tmp_path: Path) -> None:
    """They are read all at once where that is the same."""
    (tmp_path / "records.jsonl").write_text("".join(f"{row}\n" for row in rows))
    found, whole = records.read_sound_lines(tmp_path / "records.jsonl")
    assert [record["step"] for record in found] == list(range(1, sound + 1))
    assert whole == (sound == len([row for row in rows if row]))


def test_records_that_a_power_cut_took_send_a_run_back_to_the_older_checkpoint(stopped: Path, tmp_path: Path) -> None:
    saved = Checkpoints(stopped)
    newest, rows = saved.load(), saved.records.read_text().splitlines(keepends=True)
    assert newest is not None
    saved.records.write_text("".join(rows[: newest["progress"]["written"] - 1]) + '{"step": 3')
    older = saved.load()
    assert older is not None
    assert older["ledger"]["steps"] < newest["ledger"]["steps"]
    _ends_alike(stopped, tmp_path)


def test_with_no_checkpoint_left_a_run_begins_anew(stopped: Path, tmp_path: Path) -> None:
    for path in (Checkpoints(stopped).path, Checkpoints(stopped).older):
        path.write_bytes(b"torn")
    _ends_alike(stopped, tmp_path)


def test_a_result_that_is_cut_short_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    records.write_json(path, {"a": 1, "b": {"c": {}, "d": {"e": 2}}, "f": 3, "g": {"h": [{}]}})
    assert records.is_whole(path)
    whole = path.read_bytes()
    for end in range(len(whole) - 2):
        path.write_bytes(whole[:end])
        assert not records.is_whole(path)
    path.write_bytes(whole + bytes(100))
    assert not records.is_whole(path)


def test_what_writers_left_half_written_is_swept_away(tmp_path: Path) -> None:
    for name in (".result.json.123", ".checkpoint.pt.9", "result.json", ".lock", ".hidden.txt"):
        (tmp_path / name).touch()
    records.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", ".lock", ".hidden.txt"}


@pytest.mark.parametrize("cost", [0.01, 0.3, 3.0])
def test_checkpoints_take_under_two_percent_of_a_long_run(cost: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default rate, whatever one costs: by a clock that we turn."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(torch, "save", lambda state, buffer: now.__setitem__(0, now[0] + cost))
    saved, spent = Checkpoints(tmp_path), 0.0
    while now[0] < 3600:
        now[0] += 1.0
        before = now[0]
        saved.save_if_due(dict)
        spent += now[0] - before
    assert 0 < spent / now[0] < 0.02


@pytest.mark.parametrize("size", [100_000, 134_000_000, 2_000_000_000])
def test_the_first_checkpoint_of_a_short_run_takes_under_two_percent_too(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk of the pace that is reckoned with, whenever the run ends."""
    now, cost = [0.0], size / checkpoint.PACE
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(torch, "save", lambda state, buffer: now.__setitem__(0, now[0] + cost))
    saved, spent = Checkpoints(tmp_path, size), 0.0
    while now[0] < 10 * max(checkpoint.EVERY_SECONDS, cost / checkpoint.MOST):
        now[0] += 1.0
        before = now[0]
        saved.save_if_due(dict)
        spent += now[0] - before
        assert spent <= 0.02 * now[0]
    assert spent > 0


def test_a_checkpoint_of_a_large_network_is_followed_by_a_pause_that_it_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ResNet-18 with momentum and its best weights, on this disk: from gathering the state to the next checkpoint."""
    monkeypatch.setattr(checkpoint, "PACE", float("inf"))  # the first one at once
    run = _Run(settings("plb", "clean", "recipe.model=resnet18", "recipe.batch_size=8"), tmp_path, Watch())
    run.world.sampler.start(run.world.pool, run.world.probe)
    run._evaluate()
    take_step(run.world, run.run.recipe)
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    began = time.monotonic()
    run.checkpoints.save_if_due(lambda: pack(run.world, run.progress))
    took = time.monotonic() - began
    assert run.checkpoints.path.stat().st_size > 3 * 4 * 11_000_000  # weights, momentum, best weights
    clock = time.monotonic
    for later, due in ((150 * took, False), (250 * took, True)):
        monkeypatch.setattr(time, "monotonic", lambda later=later: clock() + later)
        asked: list[bool] = []
        monkeypatch.setattr(run.checkpoints, "save", lambda _, asked=asked: asked.append(True))
        run.checkpoints.save_if_due(dict)
        assert bool(asked) == due


def test_a_checkpoint_of_the_shipped_study_costs_under_two_percent_of_its_rate(tmp_path: Path) -> None:
    run = _Run(settings("plb", "clean", "recipe.train_size=null"), tmp_path, Watch())
    run.world.sampler.start(run.world.pool, run.world.probe)
    run._evaluate()
    began = time.process_time()  # of this process alone: others may be busy
    for _ in range(5):
        run.checkpoints.save(pack(run.world, run.progress))
    assert (time.process_time() - began) / 5 < 0.02 * checkpoint.EVERY_SECONDS
