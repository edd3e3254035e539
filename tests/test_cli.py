"""The command line as a user meets it: real processes, exit codes, what is on screen and what is on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from _commands import Here
from _runs import without_time
from robuststream import records
from robuststream.errors import UserError
from robuststream.reporting.report import write_report
from robuststream.studies import load_study
from robuststream.study import nursery
from robuststream.study.plan import plan

SMALL = ("seeds=1", "samplers=uniform,plb", "scenarios=clean", "recipe.train_size=200", "recipe.evaluations=4", "budget=2")
LONG = ("seeds=1", "samplers=uniform,plb", "scenarios=symmetric-40", "recipe.evaluations=20", "budget=20")
"""Seconds a run: longer than it takes to send a signal after the first record."""


def robuststream(*arguments: str | Path, cwd: Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robuststream", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False)


def refused(done: subprocess.CompletedProcess[str], answer: str) -> None:
    assert done.returncode == 2, done.stderr
    assert answer in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with its results, in the folder where nobody said --out, and what was on screen; copied by who changes it."""
    place = tmp_path_factory.mktemp("finished")
    done = robuststream("bench", "noisy-labels", *SMALL, cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "screen.txt").write_text(done.stdout)
    return place


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of the longer study."""
    place = tmp_path_factory.mktemp("undisturbed")
    assert robuststream("bench", "noisy-labels", *LONG, cwd=place).returncode == 0
    return results(place)


TORCHLESS = (
    ("bench", "noisy-lables"),
    ("bench", "noisy-labels", "samplers=pbl"),
    ("bench", "noisy-labels", "recipe.data=fashon-mnist"),
    ("bench", "noisy-labels", "recipe.data=gone.npz"),
    ("bench", "noisy-labels", "recipe.model=mlpp"),
    ("bench", "noisy-labels", "device=tpu"),
    ("bench", "noisy-labels", "seeds=0"),
    ("check", "pbl"),
    ("check", "gone.py:Gone"),
    ("check", "plb", "nonsense"),
    ("report", "."),
)


@pytest.mark.parametrize("arguments", TORCHLESS, ids=" ".join)
def test_refusals_do_not_import_torch(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code = f"import sys\nsys.argv = ['robuststream', *{arguments!r}]\nfrom robuststream.cli import main\n"
    code += "try: main()\nexcept SystemExit as end: assert end.code == 2, end.code\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_quick_and_does_not_import_torch(tmp_path: Path) -> None:
    code = "import sys\nsys.argv = ['robuststream', '--help']\nfrom robuststream.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert "bench" in done.stdout
    assert min(times) < 0.4


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("bench", "noisy-lables"), "did you mean 'noisy-labels'?"),
        (("bench", "noisy-labels", "samplers=uniform,pbl"), "did you mean 'plb'?"),
        (("bench", "noisy-labels", "seeds=0"), "seeds=0 is not possible"),
        (("bench", "noisy-labels", "budget=-1"), "budget.amount=-1.0 is not possible"),
        (("bench", "noisy-labels", "scenarios.symmetric-40.rate=1.5"), "allowed: 0 to 1"),
        (("bench", "noisy-labels", "recipe.data=cifar11"), "did you mean 'cifar10'?"),
        (("bench", "noisy-labels", "recipe.model=mlpp"), "did you mean 'mlp'?"),
        (("bench", "noisy-labels", "recipe.batch_size=100000"), "batch_size"),
        (("bench", "noisy-labels", "recipe.train_size=5000"), "5000"),
        (("bench", "noisy-labels", "--out", "/proc/nowhere"), "results cannot be written"),
        (("report", "."), "is not a study's folder"),
        (("check",), "name a sampler to check"),
        (("check", "gone.py:Gone"), "there is no file gone.py"),
        (("check", "plb", "warmup=1"), "unknown key 'warmup'"),
        (("new", "mine.txt"), "not a Python file's name"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...], answer: str, here: Here, tmp_path: Path) -> None:
    done = here(*arguments)
    refused(done, answer)
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_results_of_other_rules_are_refused(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "noisy-labels"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text('{"rules": "0.9", "runs": []}')
    for arguments in (("bench", "noisy-labels"), ("report", folder)):
        refused(here(*arguments), "measured under rules 0.9")
    assert json.loads((folder / "study.json").read_text())["rules"] == "0.9"


def test_a_damaged_study_is_told_in_one_line(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "noisy-labels"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text('{"rules": "1.')
    for arguments in (("bench", "noisy-labels"), ("report", folder)):
        refused(here(*arguments), "study.json cannot be read")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("study.json", "[]"),
        ("study.json", '{"rules": "1.0"}'),
        ("records.jsonl", "junk\n"),
        ("records.jsonl", '{"step": 3}\n{"step": 3}\n'),
        ("result.json", "{}"),
        ("settings.json", '{"rules": 1'),
    ],
)
def test_damaged_results_are_told_in_one_line(name: str, text: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished / "reports" / "noisy-labels", folder)
    (folder / records.ARCHIVE).unlink()
    next(iter(folder.rglob(name))).write_text(text)
    with pytest.raises(UserError) as told:
        records.read_study(folder)
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)


def test_two_studies_in_one_folder_are_refused(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "noisy-labels"
    folder.mkdir(parents=True)
    with records.alone(folder):
        refused(here("bench", "noisy-labels", *SMALL), "another bench is at work")
        assert here("bench", "noisy-labels", *SMALL, "--dry-run").returncode == 0
    assert not (folder / "study.json").exists()


def test_changed_data_make_new_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = set()
    for _ in range(2):
        images, labels = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8), np.arange(40) % 3
        np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
        study = load_study("noisy-labels", [f"recipe.data={tmp_path / 'own.npz'}", "samplers=uniform", "scenarios=clean"])
        names.add(plan(study, tmp_path)[0].name)
    assert len(names) == 2


def test_figures_drawn_side_by_side_are_those_drawn_here(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "reports" / "noisy-labels", tmp_path / "study")
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "study" / "figures").iterdir()}
    write_report(tmp_path / "study")
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "study" / "figures").iterdir()}
    assert len(drawn) > 4


def test_what_a_helper_could_not_do_is_an_error_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    places = [tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "no" / "folder"]
    with pytest.raises(FileNotFoundError):
        nursery.side_by_side(Path.touch, places)
    assert all(place.exists() for place in places[:3])
    assert "Traceback" not in capfd.readouterr().err


def test_very_long_labels_fit_a_file_name() -> None:
    plugin = {"label": "森" * 60}
    assert len(records.run_name({"sampler": plugin, "scenario": plugin, "seed": 10**9}).encode()) < 255


def test_bench_writes_a_report_and_does_not_repeat_itself(finished: Path, here: Here, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    folder, screen = tmp_path / "reports" / "noisy-labels", (tmp_path / "screen.txt").read_text()
    assert "report: reports/noisy-labels/report.md" in screen
    assert "uniform" in screen
    assert "plb" in (folder / "report.md").read_text()
    assert list(folder.glob("figures/*.png"))
    assert list(folder.glob("figures/*.svg"))
    runs = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}
    assert len(runs) == 2

    again = robuststream("bench", "noisy-labels", *SMALL, cwd=tmp_path)
    assert again.returncode == 0
    assert "2 done" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")} == runs

    without_torch = "import sys\nfrom robuststream.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", without_torch, "bench", "noisy-labels", *SMALL, "samplers.plb.warmup_epochs=0"]
    changed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert changed.returncode == 0, changed.stderr
    assert "1 done" in changed.stdout
    assert len(list(folder.glob("runs/*/result.json"))) == 3  # the new run beside the old ones
    assert len(records.read_study(folder)[1]) == 2  # and the report is of the study as last asked for

    report = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    assert here("report", folder).returncode == 0
    assert (folder / "report.md").read_text() == report


def test_dry_run_plans_and_writes_nothing(here: Here, tmp_path: Path) -> None:
    done = here("bench", "noisy-labels", *SMALL, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to do") == 2
    assert "about" in done.stdout
    assert not (tmp_path / "reports").exists()


def test_a_study_interrupted_three_times_goes_on_to_the_same_results(undisturbed: dict[str, object], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "robuststream", "bench", "noisy-labels", *LONG]
    runs = tmp_path / "reports" / "noisy-labels" / "runs"

    def written() -> int:
        return sum(path.stat().st_size for path in runs.glob("*/records.jsonl"))

    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = written()
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda before=before: written() > before)
        os.kill(process.pid, how)
        code = process.wait(timeout=60)
        assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130)
        assert len(list(runs.glob("*/result.json"))) < 2

    assert robuststream("bench", "noisy-labels", *LONG, cwd=tmp_path).returncode == 0
    assert results(tmp_path) == undisturbed


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom dataclasses import dataclass\nfrom robuststream.samplers import Streaming\n\n"
        "@dataclass\nclass Slow(Streaming):\n    def fresh_values(self, signals):\n        time.sleep(60)\n"
    )
    arguments = [part.replace("uniform,plb", "slow.py:Slow") for part in SMALL]
    command = [sys.executable, "-m", "robuststream", "bench", "noisy-labels", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "reports" / "noisy-labels" / "runs"
    wait_for(lambda: any(runs.glob("*/records.jsonl")))
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the first asks the run to finish its step, which takes a minute here
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - began < 30
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_failing_runs_do_not_stop_the_others(tmp_path: Path) -> None:
    """One raises, one takes its process with it."""
    arm = "@dataclass\nclass {}(Streaming):\n    def fresh_values(self, signals):\n        {}\n\n"
    (tmp_path / "mine.py").write_text(
        "import os\nfrom dataclasses import dataclass\nfrom robuststream.samplers import Streaming\n\n"
        + arm.format("Mine", "raise ValueError('mine is broken')")
        + arm.format("Fatal", "os.kill(os.getpid(), 9)")
    )
    arguments = [part.replace("uniform,plb", "mine.py:Mine,uniform,mine.py:Fatal,peb") for part in SMALL]
    done = robuststream("bench", "noisy-labels", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "mine is broken" in done.stdout
    assert "process died" in done.stdout
    assert "2 of 4 runs failed" in done.stdout
    assert len(list(tmp_path.glob("reports/noisy-labels/runs/*/result.json"))) == 2


def test_the_new_sampler_passes_its_checks_and_benches(here: Here, tmp_path: Path) -> None:
    assert here("new", "close_call.py").returncode == 0
    checked = robuststream("check", "close_call.py:CloseCall", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    arguments = [part.replace("uniform,plb", "uniform,close_call.py:CloseCall") for part in SMALL]
    assert robuststream("bench", "noisy-labels", *arguments, cwd=tmp_path).returncode == 0
    refused(here("new", "close_call.py"), "exists already")


@pytest.mark.parametrize("what", ["samplers", "scenarios", "datasets", "models", "studies"])
def test_list_names_everything(what: str, here: Here) -> None:
    done = here("list", what)
    assert done.returncode == 0, done.stderr
    expected = {
        "samplers": ("kakurenbo", "max_hidden: 0.3", "arXiv 1910.00762", "Cost:"),
        "scenarios": ("label-noise", "rate: 0.4"),
        "datasets": ("fashion-mnist", "emnist-letters"),
        "models": ("paper-cnn", "hidden: 256"),
        "studies": ("bench noisy-labels", "recipe=digits-cnn"),
    }
    for words in expected[what]:
        assert words in done.stdout


def test_doctor_speaks(here: Here) -> None:
    assert "torch" in here("doctor").stdout


def results(where: Path) -> dict[str, object]:
    folder = where / "reports" / "noisy-labels" / "runs"
    found = {path.parent.name: without_time(json.loads(path.read_text())) for path in folder.glob("*/result.json")}
    assert len(found) == 2
    return found


def wait_for(condition: object, seconds: float = 60) -> None:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
