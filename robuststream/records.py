"""The bridge between the towers: what a run writes down and a report reads. Folders are the only truth. No torch here.

A run owns `STUDY/runs/NAME/`: `settings.json`, `records.jsonl` (one line per evaluation, append-only), `checkpoint.pt` and the
one before it while it is under way, `network.pt` (the final weights), and `result.json`, written last; `failed.txt` says why it
failed when it was last tried. Every whole file is written as in `files`.

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
    provenance {robuststream, python, torch, numpy, entropy, platform, device, threads, commit, dirty, started}.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from robuststream import archive, shapes
from robuststream.errors import UserError
from robuststream.files import (
    alone,
    is_whole,
    make_folder,
    read_json,
    read_json_if_any,
    sweep,
    sync,
    write_bytes,
    write_json,
    write_text,
)
from robuststream.names import identity, run_name, run_names

__all__ = [
    "ARCHIVE",
    "NETWORK",
    "RESULT",
    "RULES",
    "SETTINGS",
    "STUDY",
    "RunRecords",
    "alone",
    "append_record",
    "identity",
    "is_whole",
    "make_folder",
    "note_failure",
    "read_evaluations",
    "read_failure",
    "read_failures",
    "read_json",
    "read_rules",
    "read_run",
    "read_sound_lines",
    "read_study",
    "run_name",
    "run_names",
    "sweep",
    "sync",
    "write_archive",
    "write_bytes",
    "write_json",
    "write_text",
]
"""The whole bridge, from `files` and `names` too: whoever writes or reads a study needs this import alone."""

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

_PARTS = ("settings.json", "records.jsonl", "result.json")


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

    @cached_property
    def name(self) -> str:
        return run_name(self.settings)

    def series(self, key: str) -> array[float]:
        """One figure of all evaluations, in order; NaN where one lacks it."""
        if key not in self._series:
            found = [evaluation.get(key) for evaluation in self.evaluations]
            self._series[key] = array("d", [math.nan if value is None else value for value in found])
        return self._series[key]

    @cached_property
    def _series(self) -> dict[str, array[float]]:
        return {}  # a report needs each of them for several figures

    @property
    def budget(self) -> float:
        """Amount, in the unit of the recipe's budget."""
        return self.settings["recipe"]["budget"]["amount"]


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """A result or an evaluation without what a clock or a date wrote: the rest repeats bit for bit, whoever runs it."""
    return {key: value for key, value in row.items() if key not in ("seconds", "provenance")}


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
    try:
        lines = [line for line in path.read_bytes().split(b"\n")[:-1] if line]
    except FileNotFoundError:
        return [], True
    evaluations: list[dict[str, Any]] = []
    before = -math.inf
    for record in _each(lines):
        try:
            step = record["step"] + 0  # a number, then
        except (TypeError, KeyError):
            break
        if not step > before:
            break
        before = step
        evaluations.append(record)
    return evaluations, len(evaluations) == len(lines)


def _each(lines: Sequence[bytes]) -> Iterator[Any]:
    """The values of these lines of JSON, up to the first that is none. All are read at once where all are sound: it is faster."""
    with suppress(ValueError, RecursionError):
        together = from_json(b"[" + b",".join(lines) + b"]")
        if len(together) == len(lines) and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
            yield from together
            return
    with suppress(ValueError, RecursionError):
        for line in lines:
            yield from_json(line)


def read_run(folder: Path) -> RunRecords | None:
    """One run folder; None where the run has not even written its settings."""
    told, rows, ended = (folder / name for name in _PARTS)
    settings = read_json_if_any(told, SETTINGS)
    if settings is None:
        return None
    result = read_json_if_any(ended, RESULT)
    evaluations = read_sound_lines(rows)[0] if result is None else read_evaluations(rows)  # what is damaged is written again
    return _held_to_shape(RunRecords(settings, evaluations, result), told, rows, ended)


def _held_to_shape(run: RunRecords, settings: Path, evaluations: Path, result: Path) -> RunRecords:
    """What every report relies on. Raises UserError with the key that does not fit and its file, one of these."""
    shapes.held_to(shapes.SETTINGS, run.settings, settings)
    shapes.held_to(shapes.EVALUATIONS, run.evaluations, evaluations)
    if run.result is not None:
        shapes.held_to(shapes.RESULT, run.result, result)
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
    found = [run for name in sorted(_run_folders(folder)) if (run := read_run(folder / "runs" / name))]
    runs = {run.name: run for run in found}
    archived = archive.read_lines(folder / ARCHIVE)
    for name in study["runs"]:
        if name in archived and name not in runs:
            runs[name] = _archived_run(archived[name], folder / ARCHIVE)
    return study, [runs[name] for name in study["runs"] if name in runs]


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
    kept = archive.read_lines(folder / ARCHIVE)
    at_hand = _run_folders(folder)
    for run in runs:
        if run.result and (run.name in at_hand or run.name not in kept):
            kept[run.name] = to_json({"settings": run.settings, "evaluations": run.evaluations, "result": run.result})
    archive.write_lines(folder / ARCHIVE, kept)


def _run_folders(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder / "runs") if entry.is_dir()}
    except OSError:
        return set()


def _archived_run(line: bytes, path: Path) -> RunRecords:
    try:
        return _held_to_shape(RunRecords(**from_json(line)), *(path / part for part in _PARTS))
    except (ValueError, TypeError) as error:
        raise archive.damaged(path, error) from None
