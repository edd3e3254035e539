"""`robuststream attack`: a finished run's record gains a figure and loses nothing; every mistake is one line and exit code 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from _runs import settings, without_time
from robuststream import records
from robuststream.errors import UserError
from robuststream.reporting.robustness import told
from robuststream.study.attacking import attack_run
from robuststream.training.loop import train


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was not attacked."""
    run = settings("uniform", "clean")
    folder = tmp_path_factory.mktemp("runs") / records.run_name(run.model_dump())
    folder.mkdir()
    records.write_json(folder / "settings.json", run.model_dump())
    train(run, folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to attack or to spoil."""
    return Path(shutil.copytree(original, tmp_path / original.name))


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_an_attack_adds_its_figure_and_nothing_is_lost(folder: Path) -> None:
    before = result(folder)
    found = attack_run(folder, "fgsm", "26/255", 40)
    after = result(folder)
    assert after.pop("robust") == [found]
    assert after == before
    assert list(found["attacks"]) == ["fgsm"]

    further = attack_run(folder, "pgd", "26/255", 40)
    assert list(further["attacks"]) == ["fgsm", "pgd"]
    assert further["attacks"]["fgsm"] == found["attacks"]["fgsm"] >= further["attacks"]["pgd"]
    assert result(folder)["robust"] == [further]

    other = attack_run(folder, "fgsm", "0.02", 40)
    assert result(folder)["robust"] == [further, other]
    assert other["attacks"]["fgsm"] >= found["attacks"]["fgsm"]
    assert not list(folder.glob(".result*"))


def test_the_same_figure_as_at_the_end_of_the_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    told_so = ("recipe.robust.eps=0.1", "recipe.robust.attacks=pgd", "recipe.robust.examples=40")
    (at_once,) = train(settings("uniform", "clean", *told_so), tmp_path / "other")["robust"]
    assert {**attack_run(folder, "pgd", "0.1", 40), "seconds": 0} == {**at_once, "seconds": 0}


def test_a_finished_run_keeps_its_network_and_still_repeats(original: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    assert without_time(train(settings("uniform", "clean"), again)) == without_time(result(original))
    assert (again / records.NETWORK).read_bytes() == (original / records.NETWORK).read_bytes()
    assert (original / records.NETWORK).stat().st_size < 100_000
    assert not (original / "checkpoint.pt").exists()


def test_the_lines_of_the_command(folder: Path) -> None:
    found = attack_run(folder, "pgd", "0.1", 40)
    lines = told({**found, "clean": 38, "attacks": {"pgd": 20}, "flags": [{"kind": "zero-gradients", "detail": "why"}]})
    assert lines[0] == "eps 0.1, 40 of 360 test examples, 95 % intervals over examples"
    assert lines[1] == "clean:             95.00 % [83.50, 98.62]"
    assert lines[2] == "after PGD-20:      50.00 % [35.20, 64.80]"
    assert lines[3] == "warning, zero-gradients: why"


def spoil_network(folder: Path) -> None:
    (folder / records.NETWORK).write_bytes(b"torn")


def spoil_data(folder: Path) -> None:
    known = result(folder)
    known["data"]["hash"] = "another"
    records.write_json(folder / "result.json", known)


def spoil_rules(folder: Path) -> None:
    known = json.loads((folder / "settings.json").read_text())
    records.write_json(folder / "settings.json", {**known, "rules": "0.9"})


@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (spoil_network, "does not hold this run's network"),
        (spoil_data, "have changed since the run was measured"),
        (spoil_rules, "was measured under rules 0.9"),
        (lambda folder: (folder / records.NETWORK).unlink(), "keeps no network (network.pt)"),
        (lambda folder: (folder / "result.json").unlink(), "has not finished"),
        (lambda folder: (folder / "settings.json").unlink(), "is not a run's folder"),
        (lambda folder: (folder / "result.json").write_text("{"), "result.json cannot be read"),
    ],
)
def test_what_cannot_be_attacked_is_refused_and_left_alone(spoil, answer: str, folder: Path) -> None:
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as refused:
        attack_run(folder, "pgd", "0.1", 40)
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == before


MISTAKES = {
    ("gone", "--eps", "0.1"): "gone is not a run's folder; a run is a folder STUDY/runs/NAME",
    ("RUN", "--eps", "1.5"): "eps=1.5 is not possible",
    ("RUN", "--eps", "much"): "eps='much' is not possible",
    ("RUN", "--eps", "0.1", "--attack", "auto-atack"): "unknown attack 'auto-atack'; did you mean 'autoattack'?",
    ("RUN", "--eps", "0.1", "--examples", "0"): "examples=0 is not possible",
    ("RUNx", "--eps", "0.1"): "did you mean",
    ("STUDY", "--eps", "0.1"): "it is a study's; name one of its 1 runs, as in",
}


def test_a_mistake_is_one_line_and_exit_code_2_without_torch(original: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    run = shutil.copytree(original, study / "runs" / original.name)
    (study / "study.json").write_text("{}")
    code = (
        "import contextlib, io, json, sys\nfrom robuststream.cli import main\nanswers = []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['robuststream', 'attack', *arguments]\n    text = io.StringIO()\n"
        "    with contextlib.redirect_stderr(text):\n"
        "        try: main()\n        except SystemExit as end: answers.append([end.code, text.getvalue()])\n"
        "print(json.dumps(['torch' in sys.modules, answers]))"
    )
    places = {"RUN": str(run), "RUNx": f"{run}x", "STUDY": str(study)}
    asked = [[places.get(word, word) for word in arguments] for arguments in MISTAKES]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with_torch, answers = json.loads(done.stdout)
    assert not with_torch
    for (code_, text), answer in zip(answers, MISTAKES.values(), strict=True):
        assert code_ == 2
        assert answer in text
        assert len(text.strip().splitlines()) == 1
