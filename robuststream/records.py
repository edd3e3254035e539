"""The bridge between the towers: what a run writes down and a report reads. Folders are the only truth. No torch here.

A run owns `STUDY/runs/NAME/`: `settings.json`, `records.jsonl` (one line per evaluation, append-only), `checkpoint.pt` and the
one before it while it is under way, `network.pt` (the final weights), and `result.json`, written last; `failed.txt` says why it
failed when it was last tried. Every whole file is written beside, synced, then renamed.

An evaluation (a line of records.jsonl; null where a figure has no meaning for the run):
    step, spent (share of the budget), forwards, backwards (examples), flops, seconds (on the clock), lr,
    auxiliary_flops (of these flops, spent on companions; only where there are any),
    train_loss (mean over the draws since the last evaluation), validation_loss, validation_accuracy,
    wrong_drawn (share of wrong labels among those draws), enrichment (wrong_drawn over the base rate),
    memorised (share of wrong labels that the network now predicts), coverage (distinct examples in the last N draws, over N),
    ess (1 / sum p^2, over N), age (mean steps since an example's last forward), concordance (share of correctly ordered pairs),
    lag (mean steps between a draw and the step that learns from it; only with recipe.lookahead),
    histogram ({edges, stored, fresh}: base values stored and fresh on the same examples; at the first, middle and last one only).

A result (result.json):
    rules, diverged,
    last {validation_accuracy, test_accuracy, test_per_class (by class; null without examples)},
    best {step, spent, validation_accuracy, test_accuracy} (validation-best step),
    totals {steps, forwards {train, probe, perturb}, backwards, flops, flops_per_forward, flops_per_backward, budget_flops,
        auxiliary {forwards, backwards, flops} (companion networks', at their own prices; within flops),
        backwards_to_images (of them, those to the images alone: an attack's), backwards_to_both, and the price of either},
    seconds {train, phases {draw, probe, fetch, perturb, forward, backward, step, observe},
        evaluation, attack, checkpoint, compile},
    data {name, num_classes, train, validation, test, hash},
    labels {wrong, rate, hash, matrix (K x K counts, clean by observed), per_class (rate by clean class),
        foreign (images that are of no class), distinct (examples, where some repeat); both only where there are any},
    corruption {what a scenario did once beside the labels, and what that cost},
    counters {name: count}, scenario {name: figure},
    robust [{eps, examples, of, subset (hash of their rows), clean, standing (a digit per example: 1 where no attack fooled the
        network yet), attacks {name: correct after it and all before it}, seconds, flags [{kind, detail}]}], only where measured,
    provenance {robuststream, python, torch, numpy, platform, device, threads, commit, dirty, started}.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robuststream import shapes
from robuststream.errors import UserError

RULES = "1.0"
"""Version of the rules of measurement. A report refuses to mix versions."""

NETWORK = "network.pt"
"""A finished run's weights after its last step, in its folder."""

ARCHIVE = "runs.jsonl.gz"
"""Every finished run of a study as one line: what is kept of a study when its run folders are not."""


STUDY = ("name", "recipe", "seeds", "samplers", "scenarios", "runs")
SETTINGS = ("rules", "sampler", "scenario", "recipe", "seed")
RESULT = ("rules", "last", "best", "totals", "seconds", "data", "labels", "provenance")
"""What a study.json, a settings.json and a result.json hold at least."""


@dataclass(frozen=True)
class RunRecords:
    """One run as read back: settings (sampler, scenario, recipe, seed), evaluations in order, and the result once finished."""

    settings: dict[str, Any]
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None

    @property
    def sampler(self) -> str:
        return self.settings["sampler"]["label"]

    @property
    def arm(self) -> dict[str, Any]:
        """The sampler with its settings, and among them the learner's where that is not plain cross-entropy."""
        sampler, learner = self.settings["sampler"], self.settings.get("learner")
        if learner is None:
            return sampler
        taught = {"learner": learner["kind"], **{f"learner.{key}": value for key, value in learner["settings"].items()}}
        return {**sampler, "settings": {**sampler["settings"], **taught}}

    @property
    def scenario(self) -> str:
        return self.settings["scenario"]["label"]

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    @property
    def budget(self) -> float:
        """Amount, in the unit of the recipe's budget."""
        return self.settings["recipe"]["budget"]["amount"]


def identity(settings: dict[str, Any]) -> str:
    """Hash of the full settings: the same settings are the same run, any change makes another."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def run_name(settings: dict[str, Any]) -> str:
    """The folder of a run: readable, and distinct for distinct settings."""
    label = f"{settings['sampler']['label']}--{settings['scenario']['label']}--seed{settings['seed']}"
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in label)
    return plain.encode()[:150].decode(errors="ignore") + f"--{identity(settings)}"  # a file's name has 255 bytes


def make_folder(folder: Path) -> None:
    """Raises UserError where it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"results cannot be written to {folder} ({error.strerror}); choose another folder with --out") from None


@contextmanager
def alone(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a study's or a run's folder for one process, waiting for it up to `patience` seconds (not seen on Windows).

    Raises UserError where another is at work in it. A process that dies lets go of the folder, however it dies.
    """
    try:
        file = open(folder / ".lock", "w")  # noqa: SIM115 -- closed below; what it raises is told apart from what the body raises
    except OSError as error:
        raise UserError(f"results cannot be written to {folder} ({error.strerror}); choose another folder with --out") from None
    with file:
        until = time.monotonic() + patience
        while not _lock(file.fileno()):
            if time.monotonic() >= until:
                raise UserError(
                    f"another bench is at work in {folder}; wait for it, or choose another folder with --out"
                ) from None
            time.sleep(0.05)
        yield


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now; True also where the system or the file system knows no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write beside, sync, rename, sync the folder: a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for bytes. Where it fails (a full disk), the old file stands and nothing is left beside it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the system has written a file, or a folder's list of names, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # nothing there yet; Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left half written beside the files of a folder."""
    for path in folder.glob(".*.*"):
        if path.suffix[1:].isdigit():
            path.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether a JSON file of ours is there to its end: the cheap question, for thousands of files.

    Ours are indented, so that the last brace alone stands at the start of a line.
    """
    try:
        with open(path, "rb") as file:
            file.seek(-min(16, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read().rstrip().endswith(b"\n}")
    except OSError:
        return False


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """A mapping that has these keys. Raises UserError where the file is damaged; ours are never half written."""
    try:
        value = json.loads(path.read_text())
        missing = [key for key in keys if key not in value] if isinstance(value, dict) else list(keys)
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or delete what it belongs to and run it again") from None
    if missing:
        raise UserError(f"{path} has no '{missing[0]}'; restore it, or delete what it belongs to and run it again")
    return value


def append_record(path: Path, record: dict[str, Any]) -> None:
    """One evaluation as one line."""
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a last line torn by a kill is left out (the run resumes from before it)."""
    evaluations, whole = read_sound_lines(path)
    if not whole:
        raise UserError(f"{path} is damaged; delete {path.parent} and run it again")
    return evaluations


def read_sound_lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The evaluations up to the first line that is none or does not go on from the one before; whether all lines were sound."""
    evaluations: list[dict[str, Any]] = []
    if not path.exists():
        return evaluations, True
    for line in path.read_bytes().split(b"\n")[:-1]:
        if not line:
            continue
        try:
            record = json.loads(line)
            step = record["step"] + 0  # a number, then
            if evaluations and not step > evaluations[-1]["step"]:
                return evaluations, False
        except (ValueError, TypeError, KeyError, RecursionError):
            return evaluations, False
        evaluations.append(record)
    return evaluations, True


def read_run(folder: Path) -> RunRecords | None:
    """One run folder; None where the run has not even written its settings."""
    if not (folder / "settings.json").exists():
        return None
    settings = read_json(folder / "settings.json", SETTINGS)
    if (folder / "result.json").exists():
        result = read_json(folder / "result.json", RESULT)
        evaluations = read_evaluations(folder / "records.jsonl")
    else:
        result, evaluations = None, read_sound_lines(folder / "records.jsonl")[0]  # what is damaged will be written again
    return _held_to_shape(RunRecords(settings, evaluations, result), folder)


def _held_to_shape(run: RunRecords, where: Path) -> RunRecords:
    """What every report relies on. Raises UserError with the file and the key that do not fit."""
    shapes.held_to(shapes.SETTINGS, run.settings, where / "settings.json")
    shapes.held_to(shapes.EVALUATIONS, run.evaluations, where / "records.jsonl")
    if run.result is not None:
        shapes.held_to(shapes.RESULT, run.result, where / "result.json")
    return run


def note_failure(folder: Path, reason: str) -> None:
    """Why a run failed, for the report and the next `bench`; where even that cannot be written, the screen has said it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "failed.txt", reason + "\n")


def read_failures(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Run -> reason, of those runs of a study that failed when they were last tried."""
    told = {path.parent.name: read_failure(path.parent) for path in (folder / "runs").glob("*/failed.txt")}
    return {name: told[name] for name in names if told.get(name)}


def read_failure(folder: Path) -> str:
    """Why a run failed when it was last tried; '' where it did not."""
    try:
        return " ".join((folder / "failed.txt").read_text(errors="replace").split())
    except OSError:
        return ""


def read_study(folder: Path) -> tuple[dict[str, Any], list[RunRecords]]:
    """The study's own settings and all its runs: from the run folders, and those that have none from the archive.

    Raises UserError where this is no study's folder, or one written under other rules of measurement.
    """
    if not (folder / "study.json").exists():
        raise UserError(f"{folder} is not a study's folder (it has no study.json); a study is written by `robuststream bench`")
    study = read_rules(folder)
    if missing := [key for key in STUDY if key not in study]:
        raise UserError(f"{folder / 'study.json'} has no '{missing[0]}'; run the study's bench again, which writes it anew")
    shapes.held_to(shapes.STUDY, study, folder / "study.json")
    found = [read_run(path) for path in sorted((folder / "runs").glob("*")) if path.is_dir()]
    runs = {run_name(run.settings): run for run in (*_read_archive(folder / ARCHIVE), *(run for run in found if run))}
    return study, [runs[name] for name in study.get("runs", []) if name in runs]


def read_rules(folder: Path) -> dict[str, Any]:
    """A folder's study.json. Raises UserError where it is damaged, or was measured under other rules than ours."""
    study = read_json(folder / "study.json", ["rules"])
    if study.get("rules") != RULES:
        raise UserError(
            f"{folder} was measured under rules {study.get('rules')}, this is rules {RULES}: "
            f"results of two rules do not mix; choose another folder with --out"
        )
    return study


def write_archive(folder: Path, runs: Iterable[RunRecords]) -> None:
    """Keep every finished run as one line beside the report, and what the archive held before. The same runs, the same bytes."""
    kept = {run_name(run.settings): run for run in (*_read_archive(folder / ARCHIVE), *runs) if run.result}
    lines = [json.dumps(vars(kept[name]), separators=(",", ":")) + "\n" for name in sorted(kept)]
    write_bytes(folder / ARCHIVE, gzip.compress("".join(lines).encode(), mtime=0))


def _read_archive(path: Path) -> list[RunRecords]:
    if not path.exists():
        return []
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        return [_held_to_shape(RunRecords(**json.loads(line)), path) for line in lines]
    except (ValueError, OSError, EOFError, TypeError, RecursionError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or delete it to go by the run folders alone") from None
