"""What goes wrong on a machine that is shared and lives long: each fault is told in one line, and the other runs go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from _runs import SMALL, settings, without_time
from robuststream import cli, records
from robuststream.errors import UserError
from robuststream.studies import load_study
from robuststream.study import execute, worker
from robuststream.study.bench import DONE, INTERRUPTED, SOME_FAILED, Bench
from robuststream.study.execute import Executor
from robuststream.study.plan import plan
from robuststream.training import checkpoint
from robuststream.training.loop import Stopped, Watch, train

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

from reliability.lives import Forks  # noqa: E402

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks workers and reads /proc, as Linux has it")

HEAD = "import os, time, torch\nfrom dataclasses import dataclass\nfrom robuststream.samplers import Streaming\n\n"


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers as forks: what a test has patched is patched in them too, and torch need not be imported again."""
    monkeypatch.setattr(execute.nursery, "processes", lambda: Forks)


def plugin(folder: Path, body: str) -> str:
    """A sampler whose base values are made by these lines."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    (folder / "mine.py").write_text(f"{HEAD}@dataclass\nclass Mine(Streaming):\n    def fresh_values(self, signals):\n{lines}")
    return f"{folder / 'mine.py'}:Mine"


def bench(folder: Path, samplers: str, *overrides: str, fail_fast: bool = False, jobs: int = 1) -> Bench:
    study = load_study("noisy-labels", [f"samplers={samplers}", "scenarios=clean", *SMALL, *overrides])
    return Bench(study, folder, "a test", jobs=jobs, threads=1, fail_fast=fail_fast)


def finished(folder: Path) -> set[str]:
    return {path.parent.name.partition("--")[0] for path in folder.glob("runs/*/result.json")}


FAULTS = {
    "an error": ("raise ValueError('mine is broken')", "mine is broken"),
    "killed": ("os.kill(os.getpid(), 9)", "its process died (killed: by a person, or by the system for lack of memory"),
    "another signal": ("os.kill(os.getpid(), 11)", "its process died (Segmentation fault)"),
    "it ends its process": ("os._exit(3)", "its process died (exit code 3)"),
    "out of memory": ("torch.empty(10**15)", "out of memory with recipe.batch_size=32; lower it"),
    "Python out of memory": ("raise MemoryError", "out of memory with recipe.batch_size=32; lower it"),
    "GPU out of memory": (
        "raise torch.OutOfMemoryError('CUDA out of memory. Tried')",
        "out of GPU memory with recipe.batch_size=32",
    ),
    "the GPU is full already": (
        "raise RuntimeError('CUDA error: out of memory\\nCUDA kernel errors might be')",
        "out of GPU memory with recipe.batch_size=32",
    ),
    "the disk is full": ("raise OSError(28, 'No space left on device')", "no room left on the disk of"),
    "hung": ("while True: time.sleep(1)", "took longer than run_limit=8 seconds"),
}


@linux
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_the_others_go_on(
    fault: str, tmp_path: Path, forked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    body, reason = FAULTS[fault]
    overrides = ["run_limit=8"] if fault == "hung" else []
    study = bench(tmp_path / "out", f"{plugin(tmp_path, body)},uniform", *overrides)
    assert study.run() == SOME_FAILED
    told = " ".join(capsys.readouterr().out.split())
    assert reason in told
    assert "1 of 2 runs failed; the same command tries them again: Mine--clean--seed0" in told
    assert "Traceback" not in told
    assert finished(tmp_path / "out") == {"uniform"}
    [failed] = [run for run in study.runs if not run.finished]
    assert reason in records.read_failure(failed.folder)
    assert reason in (tmp_path / "out" / "report.md").read_text().replace("&#95;", "_")


@linux
def test_a_rule_breaker_does_not_poison_the_next_arm(tmp_path: Path, forked: None, capsys: pytest.CaptureFixture[str]) -> None:
    """It fails by name; the process it ran in is not used again."""
    name = plugin(tmp_path, "torch.set_default_dtype(torch.float64)\nreturn signals.loss")
    study = bench(tmp_path / "out", f"uniform,{name},plb,peb")
    assert study.run() == SOME_FAILED
    told = " ".join(capsys.readouterr().out.split())
    assert "the default dtype" in told
    assert "1 of 4 runs failed" in told
    assert finished(tmp_path / "out") == {"uniform", "plb", "peb"}


@linux
def test_what_failed_is_tried_again(tmp_path: Path, forked: None, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").touch()
    name = plugin(
        tmp_path, f"if os.path.exists({str(tmp_path / 'broken')!r}): raise ValueError('still broken')\nreturn signals.loss"
    )
    assert bench(tmp_path / "out", f"uniform,{name}").run() == SOME_FAILED
    (uniform,) = (tmp_path / "out").glob("runs/uniform*/result.json")
    stamp = uniform.stat().st_mtime_ns
    capsys.readouterr()
    assert bench(tmp_path / "out", f"uniform,{name}").dry_run() == DONE
    assert "failed when last tried: ValueError: still broken" in " ".join(capsys.readouterr().out.split())
    assert bench(tmp_path / "out", f"uniform,{name}").run() == SOME_FAILED
    assert "1 done" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "broken").unlink()
    again = bench(tmp_path / "out", f"uniform,{name}")
    assert again.run() == DONE
    assert uniform.stat().st_mtime_ns == stamp
    assert [records.read_failure(run.folder) for run in again.runs] == ["", ""]
    assert "still broken" not in (tmp_path / "out" / "report.md").read_text()


@linux
def test_fail_fast_stops_at_the_first_failure(tmp_path: Path, forked: None) -> None:
    name = plugin(tmp_path, "raise ValueError('mine is broken')")
    study = bench(tmp_path / "out", f"{name},uniform,peb", "seeds=3", fail_fast=True)
    assert study.run() == SOME_FAILED
    first = next(place for place, run in enumerate(study.runs) if run.settings.sampler.label == "Mine")
    assert sum(run.finished for run in study.runs) == first


def test_the_command_hands_fail_fast_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    class Asked:
        def __init__(self, *_: object, **options: object) -> None:
            asked.update(options)

        def run(self) -> int:
            return SOME_FAILED

    monkeypatch.setattr("robuststream.study.bench.Bench", Asked)
    monkeypatch.setattr(execute.nursery, "warm", lambda: None)
    for words in ([], ["--fail-fast"]):
        monkeypatch.setattr(sys, "argv", ["robuststream", "bench", "noisy-labels", "--out", str(tmp_path / "out"), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code, asked["fail_fast"]) == (SOME_FAILED, bool(words))


@pytest.mark.parametrize(
    "body", ["return signals.loss * float('inf')", "return signals.loss * 1e38", "return signals.loss * float('nan')"]
)
def test_exploding_base_values_stop_no_run_with_a_traceback(body: str, tmp_path: Path) -> None:
    """They are told, or the run ends with figures that are numbers or absent."""
    run = settings(plugin(tmp_path, body))
    (tmp_path / "run").mkdir()
    what, detail = worker._train(run, tmp_path / "run", Watch())
    if what == "failed":
        assert "base value" in detail
        assert "traceback" not in detail
    elif "1e38" not in body:  # which a leaf can hold; what it cannot is counted, and the report flags it
        assert json.loads((tmp_path / "run" / "result.json").read_text())["counters"]["repaired_values"] > 0
    for path in tmp_path.glob("run/*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.dumps(json.loads(line), allow_nan=False)


@linux
def test_a_diverging_run_is_told_and_goes_on(tmp_path: Path, forked: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path / "out", "uniform", "recipe.lr=1e12").run() == DONE
    assert capsys.readouterr().out.count("diverged: uniform--clean--seed0") == 1


@linux
def test_a_data_file_that_vanishes_fails_its_runs_only(tmp_path: Path, forked: None) -> None:
    images, labels = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    overrides = ["samplers=uniform", "scenarios=clean", "seeds=1", "budget=2", "recipe.evaluations=2"]
    own = plan(load_study("noisy-labels", [*overrides, f"recipe.data={tmp_path / 'own.npz'}"]), tmp_path / "out")
    digits = plan(load_study("noisy-labels", [*overrides, "recipe.train_size=200"]), tmp_path / "out")
    (tmp_path / "own.npz").unlink()
    heard = {
        (h.what, h.run.name, str(h.detail)) for h in Executor(1).execute([*own, *digits]) if h.what in ("failed", "finished")
    }
    assert any(what == "failed" and name == own[0].name and "there is no such file" in detail for what, name, detail in heard)
    assert any(what == "finished" and name == digits[0].name for what, name, _ in heard)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise KeyError('no such thing')", "scenario 'Mine' cannot be set up: KeyError: 'no such thing' (mine.py:9)"),
        ("return None", "scenario 'Mine' cannot be set up: AttributeError: 'NoneType' object has no attribute 'rows'"),
        ("torch.empty(10**15)", "scenario 'Mine' cannot be set up: RuntimeError: "),
        ("raise SystemExit(0)", "scenario 'Mine' cannot be set up: SystemExit: 0 (mine.py:9)"),
    ],
)
def test_a_scenario_that_cannot_be_set_up_is_refused_in_a_line(line: str, told: str, tmp_path: Path) -> None:
    """Before anything is written: its runs could only fail one by one, and it is the study's own process that has tried."""
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom dataclasses import dataclass\nfrom robuststream.contracts import Scenario\n\n"
        f"@dataclass\nclass Mine(Scenario):\n    'Mine.'\n    def corrupt(self, data, generator):\n        {line}\n"
    )
    study = load_study("noisy-labels", ["samplers=uniform", f"scenarios=clean,{tmp_path / 'mine.py'}:Mine", *SMALL])
    with pytest.raises(UserError) as refusal:
        Bench(study, tmp_path / "out", "a test", jobs=1, threads=1)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


# -- disks -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """A small disk of its own at a place; skipped where nothing may be mounted."""
    mounted: list[Path] = []

    def do(place: Path, options: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no file system may be mounted here; the same with a patched system call is tested beside")
        mounted.append(place)

    yield do
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


@linux
def test_a_full_disk_fails_its_run_and_it_goes_on_once_there_is_room(
    tmp_path: Path, forked: None, mount: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "PACE", float("inf"))
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    study = bench(tmp_path / "out", "uniform,plb")
    full = study.runs[0].folder
    mount(full, "size=64k")
    assert study.run() == SOME_FAILED
    assert study.runs[1].finished
    told = (tmp_path / "out" / "report.md").read_text()
    assert "no room left on the disk of" in told
    assert not list(full.glob(".checkpoint*")), "what could not be written whole is not left in part"
    subprocess.run(["mount", "-o", "remount,size=8m", full], check=True)
    assert bench(tmp_path / "out", "uniform,plb").run() == DONE
    (tmp_path / "alone").mkdir()
    alone = train(study.runs[0].settings, tmp_path / "alone")
    assert without_time(json.loads((full / "result.json").read_text())) == without_time(alone)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_text(tmp_path / "result.json", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_text(tmp_path / "result.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_a_disk_that_refuses_the_study_itself_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "study.json")

    monkeypatch.setattr(records, "write_json", full)
    monkeypatch.setattr(sys, "argv", ["robuststream", "bench", "noisy-labels", *SMALL, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "robuststream: study.json: No space left on device; what was finished is kept\n"


@linux
def test_a_read_only_disk_is_refused_before_anything_else(tmp_path: Path, mount: Callable[[Path, str], None]) -> None:
    mount(tmp_path / "disk", "size=64k,ro")
    for folder in (tmp_path / "disk", tmp_path / "disk" / "out"):
        with pytest.raises(UserError, match=r"results cannot be written .* choose another"):
            records.make_folder(folder)


def test_a_run_folder_that_cannot_be_made_fails_its_run(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    what, detail = worker._train(settings(), tmp_path / "run", Watch())
    assert (what, "FileExistsError" in detail) == ("failed", True)


# -- two at once, clocks, interruptions --------------------------------------------------------------------------------------


def test_two_studies_in_one_folder_are_refused(tmp_path: Path) -> None:
    with records.alone(tmp_path), pytest.raises(UserError, match="another bench is at work in"):
        bench(tmp_path, "uniform").run()
    assert not (tmp_path / "study.json").exists()


@linux
def test_what_is_to_do_is_asked_after_the_lock_is_taken(tmp_path: Path, forked: None) -> None:
    """A bench that was started while another was finishing repeats nothing of it."""
    late = bench(tmp_path, "uniform")
    assert bench(tmp_path, "uniform").run() == DONE
    (result,) = tmp_path.glob("runs/*/result.json")
    stamp = result.stat().st_mtime_ns
    assert late.run() == DONE
    assert result.stat().st_mtime_ns == stamp


def test_a_worker_waits_for_one_of_a_killed_study_and_takes_over_its_result(tmp_path: Path) -> None:
    held = threading.Event()
    holder = threading.Thread(target=_hold_and_finish, args=(held, tmp_path))
    holder.start()
    assert held.wait(60)
    what, result = worker._train(settings(), tmp_path, Watch())
    holder.join()
    assert what == "finished"
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert result["provenance"]["started"] == "by the other"


def _hold_and_finish(held: threading.Event, folder: Path) -> None:
    with records.alone(folder):
        held.set()
        time.sleep(0.3)
        result = {key: {} for key in records.RESULT} | {"provenance": {"started": "by the other"}}
        records.write_json(folder / "result.json", result)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("straight", "jumping"):
        (tmp_path / name).mkdir()
    straight = train(settings("plb"), tmp_path / "straight")
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: (-1.0) ** next(jumps) * 1e9)
    jumping = train(settings("plb"), tmp_path / "jumping")
    assert without_time(straight) == without_time(jumping)
    assert 0 <= jumping["seconds"]["train"] < 600


def test_nothing_reads_the_clock_that_jumps() -> None:
    """Durations come from monotonic clocks; the date is only written down."""
    package = Path(records.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert "time.time(" not in text, path
        assert "datetime.now" not in text or path.name == "provenance.py", path


@linux
def test_an_interrupt_finishes_the_step_saves_and_says_so(tmp_path: Path, forked: None) -> None:
    study = bench(tmp_path / "out", "uniform", "budget=4000")
    code = _interrupted(study, tmp_path / "out", presses=1)
    assert code == INTERRUPTED
    assert (study.runs[0].folder / "checkpoint.pt").exists()


@linux
def test_a_second_interrupt_waits_for_nobody(tmp_path: Path, forked: None) -> None:
    study = bench(tmp_path / "out", plugin(tmp_path, "time.sleep(60)\nreturn signals.loss"))
    assert _interrupted(study, tmp_path / "out", presses=2) == INTERRUPTED


@linux
def test_what_brings_workers_forth_is_deaf_to_ctrl_c_while_it_imports() -> None:
    """A terminal presses it for the whole group: only the study is to answer, and nobody with a traceback."""
    code = (
        "import os, signal, time\nfrom multiprocessing import forkserver\nfrom robuststream.study import nursery\n"
        "before = signal.getsignal(signal.SIGINT)\nnursery.warm()\npid = forkserver._forkserver._forkserver_pid\n"
        "os.kill(pid, signal.SIGINT)\ntime.sleep(1.0)\n"
        "os.kill(pid, 0)\nprint(os.waitpid(pid, os.WNOHANG)[0], signal.getsignal(signal.SIGINT) is before)\n"
        "os.kill(pid, signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 True\n", "")


def _interrupted(study: Bench, folder: Path, presses: int) -> int:
    """Press Ctrl-C as soon as a run writes."""

    def press() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not any(folder.glob("runs/*/settings.json")):
            time.sleep(0.02)
        for _ in range(presses):
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    code = study.run()
    presser.join()
    return code


def test_a_stopped_run_has_saved(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(settings(), tmp_path, Watch(stop=lambda: True))
    assert checkpoint.Checkpoints(tmp_path).load() is not None
