"""The bridge between the towers: what a run writes down and a report reads. Folders are the only truth. No torch here.

A run owns `STUDY/runs/NAME/`: `settings.json`, `records.jsonl` (one line per evaluation, append-only), `checkpoint.pt` while
it is under way, and `result.json`, written last. Every whole file is written beside, synced, then renamed.

An evaluation (a line of records.jsonl; null where a figure has no meaning for the run):
    step, spent (share of the budget), forwards, backwards (examples), flops, seconds (on the clock), lr,
    train_loss (mean over the draws since the last evaluation), validation_loss, validation_accuracy,
    wrong_drawn (share of wrong labels among those draws), enrichment (wrong_drawn over the base rate),
    memorised (share of wrong labels that the network now predicts), coverage (distinct examples in the last N draws, over N),
    ess (1 / sum p^2, over N), age (mean steps since an example's last forward), concordance (share of correctly ordered pairs),
    lag (mean steps between a draw and the step that learns from it; only with recipe.lookahead),
    histogram ({edges, stored, fresh}: base values stored and fresh on the same examples; at the first, middle and last one only).

A result (result.json):
    rules, diverged,
    last {validation_accuracy, test_accuracy}, best {step, spent, validation_accuracy, test_accuracy} (validation-best step),
    totals {steps, forwards {train, probe, perturb}, backwards, flops, flops_per_forward, flops_per_backward, budget_flops},
    seconds {train, phases {draw, probe, fetch, perturb, forward, backward, step, observe}, evaluation, checkpoint, compile},
    data {name, num_classes, train, validation, test, hash},
    labels {wrong, rate, hash, matrix (K x K counts, clean by observed), per_class (rate by clean class)},
    counters {name: count}, scenario {name: figure},
    provenance {robuststream, python, torch, numpy, platform, device, threads, commit, dirty, started}.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from robuststream.errors import UserError

RULES = "1.0"
"""Version of the rules of measurement. A report refuses to mix versions."""

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
def alone(folder: Path) -> Iterator[None]:
    """Hold a study's folder for one `bench`. Raises UserError where another is at work in it (not seen on Windows)."""
    with open(folder / ".lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError:
            raise UserError(f"another bench is at work in {folder}; wait for it, or choose another folder with --out") from None
        yield


def write_text(path: Path, text: str) -> None:
    """Write beside, sync, rename: a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for bytes."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """A mapping that has these keys. Raises UserError where the file is damaged; ours are never half written."""
    try:
        value = json.loads(path.read_text())
        missing = [key for key in keys if key not in value] if isinstance(value, dict) else list(keys)
    except (ValueError, OSError) as error:
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
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    try:
        evaluations = [json.loads(line) for line in lines[:-1] if line]
        rising = all(earlier["step"] < later["step"] for earlier, later in pairwise(evaluations))
    except (ValueError, TypeError, KeyError):
        evaluations, rising = [], False
    if not rising:
        raise UserError(f"{path} is damaged; delete {path.parent} and run it again")
    return evaluations


def read_run(folder: Path) -> RunRecords | None:
    """One run folder; None where the run has not even written its settings."""
    if not (folder / "settings.json").exists():
        return None
    settings = read_json(folder / "settings.json", SETTINGS)
    result = read_json(folder / "result.json", RESULT) if (folder / "result.json").exists() else None
    return RunRecords(settings, read_evaluations(folder / "records.jsonl"), result)


def read_study(folder: Path) -> tuple[dict[str, Any], list[RunRecords]]:
    """The study's own settings and all its runs: from the run folders, and those that have none from the archive.

    Raises UserError where this is no study's folder, or one written under other rules of measurement.
    """
    if not (folder / "study.json").exists():
        raise UserError(f"{folder} is not a study's folder (it has no study.json); a study is written by `robuststream bench`")
    study = read_rules(folder)
    if missing := [key for key in STUDY if key not in study]:
        raise UserError(f"{folder / 'study.json'} has no '{missing[0]}'; run the study's bench again, which writes it anew")
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
    lines = [json.dumps(asdict(kept[name]), separators=(",", ":")) + "\n" for name in sorted(kept)]
    write_bytes(folder / ARCHIVE, gzip.compress("".join(lines).encode(), mtime=0))


def _read_archive(path: Path) -> list[RunRecords]:
    if not path.exists():
        return []
    try:
        return [RunRecords(**json.loads(line)) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or delete it to go by the run folders alone") from None
