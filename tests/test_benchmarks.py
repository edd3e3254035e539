"""The benchmarks at tiny sizes: timing and its refusals, targets and their lines. No figure is tested."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))  # where a script finds its neighbours

# ruff: noqa: E402
import draws
import step
import study
from contenders import FLOOR, OURS, PEERS, Contender
from contenders.trees import Cpprb
from harness import report
from harness.measure import Rules, interleave
from harness.targets import Figure, target
from training_step import Ratio

from robuststream import records

TINY = Rules(blocks=3, seconds=1e-4, budget=0.05, least=2, share=0.0)  # any share: a test machine is seldom quiet


def burn() -> None:
    sum(range(2000))


def test_every_contender_gets_its_blocks_and_a_time() -> None:
    timings = interleave({"a": burn, "b": burn}, TINY)
    assert {name: len(timing.times) for name, timing in timings.items()} == {"a": 3, "b": 3}
    assert all(timing.median > 0 and not timing.refused for timing in timings.values())


def test_a_slow_contender_gets_fewer_blocks_and_no_fewer_than_the_least() -> None:
    rules = Rules(blocks=30, seconds=1e-4, budget=0.01, least=2, share=0.0)
    assert len(interleave({"slow": lambda: time.sleep(0.01)}, rules)["slow"].times) == 2


def test_a_block_that_did_not_have_its_core_is_repeated_and_then_refused() -> None:
    timing = interleave({"waits": lambda: time.sleep(0.002)}, Rules(blocks=3, seconds=1e-3, repeats=2))["waits"]
    assert timing.repeated == 3
    assert not timing.times
    assert "the core was shared" in timing.refused
    assert timing.record() == {"refused": timing.refused}
    assert Ratio.of(interleave({"a": burn}, TINY)["a"], timing).refused.startswith("the uniform step was refused")


@pytest.mark.parametrize("contender", [*OURS, *PEERS, FLOOR], ids=lambda contender: contender.name)
def test_a_contender_draws_where_the_values_are_and_follows_an_update(contender: type[Contender]) -> None:
    reason = contender.missing()
    if reason:
        pytest.skip(reason)
    values = torch.full((1000,), 1e-30)
    values[:8] = 1.0
    one = contender(values, seed=1)
    first = one.tensor(one.draw(64))
    assert first.shape == (64,)
    assert first.dtype == torch.int64
    if contender is FLOOR:
        return
    assert bool((first < 8).all())
    one.update(one.array(torch.arange(8)), one.array(torch.full((8,), 1e-30)))
    one.update(one.array(torch.tensor([900])), one.array(torch.ones(1)))
    assert one.tensor(one.draw(64)).tolist() == [900] * 64


def test_a_target_says_its_worst_figure_its_limit_and_its_verdict() -> None:
    figures = [Figure(0.4, 0.5, "here"), Figure(0.55, 0.6, "there")]
    assert target("t", figures, reason="").line() == "t: worst 0.55x (there), target <= 0.6x, met (in 2 of 2 cells)"
    assert "NOT MET" in target("t", [Figure(1.1, 1.0, "here")], reason="").line()
    assert target("t", [], reason="no peer").line() == "t: not measured: no peer"


def test_draws_prints_a_line_per_target_and_names_who_is_absent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(Cpprb, "modules", ("no_such_module",))
    draws.main(["--write", "--sizes", "1e3", "2e3", "--counts", "8"], TINY)
    printed = capsys.readouterr().out
    assert "absent: cpprb: ModuleNotFoundError" in printed
    assert "native / n random cache lines" in printed
    assert "cost(1e8) / cost(1e4), n = 128: not measured: not in this run" in printed
    written = json.loads((tmp_path / "draws.json").read_text())
    assert [cell["N"] for cell in written["cells"]] == [1000, 2000]
    assert len(written["targets"]) == 6
    assert "## Machine" in (tmp_path / "draws.md").read_text()


def test_step_prints_a_line_per_target(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    step.main(["--write", "--sizes", "1000", "--cnn-sizes"], TINY)
    printed = capsys.readouterr().out
    assert "pure torch / uniform: worst" in printed
    assert "paper CNN step, native / uniform: not measured: not in this run" in printed
    arms = json.loads((tmp_path / "step.json").read_text())["cells"][0]["arms"]
    assert {"uniform", "PLB, ours, torch", "PEB, ours, torch", "PLB, multinomial"} <= set(arms)


def test_what_a_study_costs_beside_its_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A study that was run elsewhere is found where the command was told to write it."""

    def bench(folder: str, *settings: str) -> None:
        for name in ("study.json", "runs.jsonl.gz"):
            shutil.copy(FOLDER.parent / "reports" / "noisy-labels" / name, folder)
        asked.append(settings)

    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(study, "bench", bench)
    study.main(["--write", "--tiny", "80"])
    assert asked == [(), (*study.TINY, "seeds=10")]
    written = json.loads((tmp_path / "study.json").read_text())["costs"]["tiny runs"]
    _, runs = records.read_study(FOLDER.parent / "reports" / "noisy-labels")
    assert written["runs"] == len(runs) == 120
    assert written["spent"]["training"] == pytest.approx(sum(run.result["seconds"]["train"] for run in runs))
    assert sum(written["spent"].values()) == pytest.approx(written["wall"] * study.cores())
    assert "beside training, tiny runs: worst" in capsys.readouterr().out
    cost = study.Cost(2, wall=10.0, spent={"training": 15.0 * study.cores() / 2, "all else": 5.0 * study.cores() / 2})
    assert cost.beside == pytest.approx(0.25)
