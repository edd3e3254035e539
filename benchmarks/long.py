"""What happens in the long run: memory over 1,000 runs, a million steps of a toy, ten thousand run folders.

    python benchmarks/long.py --quick                 # a hundredth of each
    python benchmarks/long.py --write                 # all; writes long.md in reports/reliability

Seconds are of this process alone (its CPU time), so that a busy machine does not change them. The exit code says whether all is
met.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robuststream import records
from robuststream.config import Study
from robuststream.contracts import Pool, Signals
from robuststream.reporting.report import write_report
from robuststream.samplers.plb import PLB
from robuststream.studies import load_study
from robuststream.study import worker
from robuststream.study.plan import plan
from robuststream.study.planned import study_settings
from robuststream.training.loop import Watch

TINY = ("seeds=1", "scenarios=symmetric-40", "recipe.train_size=120", "recipe.evaluations=2", "budget=1", "recipe.model=mlp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of each")
    parser.add_argument("--only", choices=tuple(MEASURES))
    folder = Path(__file__).parent.parent / "reports" / "reliability"
    parser.add_argument("--write", nargs="?", const=folder, type=Path, help="write the table there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part = 100 if options.quick else 1
    found, met = {}, True
    for name, measure in MEASURES.items():
        if options.only in (None, name):
            told = measure(part)
            found[name] = [f"- {line}: {'met' if fine else 'NOT MET'}" for line, fine in told]
            met &= all(fine for _, fine in told)
            print(*found[name], sep="\n", flush=True)
    if options.write:
        _write(options.write / "long.md", found)
    sys.exit(not met)


def _write(path: Path, found: dict[str, list[str]]) -> None:
    """What was measured alone takes its own place among what is there."""
    before = path.read_text().split("\n## ")[1:] if path.exists() else []
    sections = {title: lines for title, *lines in (section.strip().split("\n") for section in before)} | found
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ["# The long run", "`benchmarks/long.py`", *(f"## {name}\n" + "\n".join(sections.get(name, [])) for name in MEASURES)]
    path.write_text("\n\n".join(parts) + "\n")


# Memory


def _memory(part: int) -> list[tuple[str, bool]]:
    runs = max(30, 1000 // part)
    early, late = memory(runs)
    told = f"{runs} runs in one process: {early:.0f} MiB after a tenth of them, {late:.0f} MiB at the end (at most 5 % more)"
    return [(told, late <= 1.05 * early)]


def memory(runs: int) -> tuple[float, float]:
    """Resident MiB of a worker after a tenth of the runs (warm), and after all; every sampler takes its turn."""
    study = plan(load_study("noisy-labels", TINY), Path("nowhere"))
    early = 0.0
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            what, detail = worker._train(study[number % len(study)].settings, Path(folder), Watch())
        assert what == "finished", detail
        if number + 1 == max(len(study), runs // 10):
            early = _resident()
    return early, _resident()


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# Drift


@dataclass(frozen=True)
class Drift:
    """How far a sampler's state is from what it should be after many steps."""

    values: float  # largest relative difference of a base value from an independent copy
    total: float  # relative difference of the sum from the exact sum of the values
    frequency: float  # largest |count - expected| over the examples, in standard deviations


def _drift(part: int) -> list[tuple[str, bool]]:
    steps = 1_000_000 // part
    found = drift(steps)
    told = f"{steps} steps of PLB on a toy: base values off by {found.values:.1e}, sums by {found.total:.1e} (at most 1e-6); "
    told += f"the count farthest from its expectation by {found.frequency:.1f} standard deviations (at most 5)"
    return [(told, found.values <= 1e-6 and found.total <= 1e-6 and found.frequency <= 5)]


def drift(steps: int, size: int = 64, batch: int = 8) -> Drift:
    """PLB with losses that are made up and swing over six decades, beside a NumPy copy of its base values."""
    rng = np.random.default_rng(0)
    sampler = PLB()
    pool = Pool(size, batch, 2, torch.zeros(size, dtype=torch.int64), seed=1)
    copy = rng.uniform(0.1, 1.0, size).astype(np.float32)
    sampler.start(pool, None)  # type: ignore[arg-type] -- it values the pool by the signals below
    sampler.first_values = lambda probe: sampler.store(_signals(np.arange(size), copy))  # type: ignore[method-assign]
    expected, variance, counts = np.zeros(size), np.zeros(size), np.zeros(size)
    for _ in range(steps):
        index = sampler.draw(None, 0.0).index.numpy()  # type: ignore[arg-type]
        p = copy.astype(np.float64) / copy.sum(dtype=np.float64)
        expected += batch * p
        variance += batch * p * (1 - p)
        np.add.at(counts, index, 1)
        losses = (10.0 ** rng.uniform(-4, 2, batch)).astype(np.float32)
        sampler.observe(_signals(index, losses))
        fresh = np.zeros(size, dtype=np.float32)
        np.maximum.at(fresh, index, losses)  # the largest of a repeated index wins
        copy = np.where(fresh > 0, fresh, copy)
    stored = sampler.stored_values()
    assert stored is not None
    total, exact = float(sampler.tree_.total), float(copy.sum(dtype=np.float64))
    return Drift(
        values=float(np.abs(stored.numpy() / copy - 1).max()),
        total=abs(total / exact - 1),
        frequency=float((np.abs(counts - expected) / np.sqrt(variance)).max()),
    )


def _signals(index: np.ndarray, loss: np.ndarray) -> Signals:
    at = torch.from_numpy(index)
    return Signals(at, torch.zeros_like(at), torch.zeros(len(at), 2), torch.from_numpy(loss))


# Folders


def _folders(part: int) -> list[tuple[str, bool]]:
    runs = 10_000 // part
    with tempfile.TemporaryDirectory() as folder:
        planned, reported = folders(Path(folder), runs)
    return [
        (f"{runs} run folders planned in {planned:.1f} s (under 3 s)", planned < 3),
        (f"{runs} run folders reported in {reported:.1f} s (under 20 s)", reported < 20),
    ]


def folders(folder: Path, runs: int) -> tuple[float, float]:
    """Seconds of CPU to plan a study that is finished, and to report it."""
    study = finished_study(folder, runs)
    began = time.process_time()
    assert all(run.finished for run in plan(study, folder))
    middle = time.process_time()
    write_report(folder)
    return middle - began, time.process_time() - middle


def finished_study(folder: Path, runs: int) -> Study:
    """So many run folders. Results are those of the committed study, repeated."""
    study = load_study("noisy-labels", [f"seeds={max(1, runs // 8)}", "scenarios=symmetric-40", "recipe.evaluations=20"])
    planned = plan(study, folder)
    committed = Path(__file__).parent.parent / "reports" / "noisy-labels"
    _, known = records.read_study(committed)
    models = {run.sampler: run for run in known if run.scenario == "symmetric-40" and run.seed == 0}
    for run in planned:
        _fill(run.folder, run.settings.model_dump(), models[run.settings.sampler.label])
    records.write_json(folder / "study.json", study_settings(study, planned, "benchmarks/long.py"))
    return study


def _fill(folder: Path, settings: dict[str, Any], model: records.RunRecords) -> None:
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in model.evaluations[::2]))
    (folder / "result.json").write_text(json.dumps(model.result, indent=1) + "\n")  # not synced: thousands of them


MEASURES = {"memory": _memory, "drift": _drift, "folders": _folders}


if __name__ == "__main__":
    main()
