"""Time to 94 % on CIFAR-10: our fast recipe beside airbench94_muon as its authors wrote it, a run of each in turn.

    python benchmarks/to94.py --airbench airbench94_muon.py --write     # their script, from KellerJordan/cifar10-airbench
    python benchmarks/to94.py --runs 2 device=cpu recipe.compile=false recipe.cuda_graphs=false     # ours alone; minutes a run

Further words are overrides of configs/fast.yaml. Images come from the folder that ROBUSTSTREAM_DATA names.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from harness.machine import machine
from harness.peers import load_script
from harness.report import machine_section, table, targets_section, write
from harness.targets import AtLeast, Figure, Target, target

from robuststream.config import RunSettings
from robuststream.data.load import load_arrays
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.study.process import settle
from robuststream.training.loop import train

OURS, THEIRS = "cifar10-fast", "airbench94_muon"
WANTED, RATIO = 0.94, 1.1

METHOD = """Runs of both take turns in one process on one device, after one of each that is not counted, in which what is compiled
is compiled. airbench94_muon is its authors' script, called as its own last lines call it; only what it prints is caught. Its
seconds are by its own events: all epochs, without evaluations, and in the second column with the reading of its test set, which
is on its clock. Ours are by our clock, on which evaluations are not, nor what is done once for the data: padding them, and the
covariance of patches. Accuracy of both is on the whole test set, over the same six views of an image. Theirs learns from 50,000
images, ours from 49,000, for 1,000 are our validation set."""


@dataclass(frozen=True)
class Finished:
    """One run: test accuracy in [0, 1], seconds of training, and those with the last reading of the test set where known."""

    accuracy: float
    seconds: float
    with_reading: float | None = None


def ours(settings: RunSettings, folder: Path) -> Callable[[int], Finished]:
    """A run of the recipe by its seed."""

    def run(seed: int) -> Finished:
        own = folder / f"ours-{seed}"
        own.mkdir()
        result = train(settings.model_copy(update={"seed": seed}), own)
        return Finished(result["last"]["test_accuracy"], result["seconds"]["train"])

    return run


def theirs(script: Path, folder: Path) -> Callable[[int], Finished]:
    """A run of airbench94_muon by its number; it wants a CUDA device, and its data in a folder of its own."""
    _data_for_them(folder / "cifar10")
    try:
        module = load_script(script)
    except ImportError as reason:
        raise SystemExit(f"--airbench is not possible ({reason})") from None
    model = module.CifarNet().cuda().to(memory_format=torch.channels_last)
    model.compile(mode="max-autotune")
    clock: list[float] = []
    module.print_training_details = lambda variables, is_final_entry: clock.append(variables["time_seconds"])

    def run(number: int) -> Finished:
        clock.clear()
        with contextlib.chdir(folder):
            accuracy = module.main("warmup" if number < 0 else number, model)
        return Finished(accuracy, clock[-2], clock[-1])

    return run


def _data_for_them(folder: Path) -> None:
    """train.pt and test.pt, as the script makes them when it downloads."""
    arrays = load_arrays("cifar10")
    folder.mkdir()
    for part in ("train", "test"):
        images, labels = (torch.tensor(getattr(arrays, f"{part}_{what}")) for what in ("images", "labels"))
        torch.save({"images": images, "labels": labels.long(), "classes": []}, folder / f"{part}.pt")


def in_turn(arms: dict[str, Callable[[int], Finished]], runs: int) -> dict[str, list[Finished]]:
    """One of each that is not counted, then `runs` of each, one after the other."""
    for run in arms.values():
        run(-1)
    found: dict[str, list[Finished]] = {name: [] for name in arms}
    for number in range(runs):
        for name, run in arms.items():
            found[name].append(run(number))
            print(f"{name} {number}: {found[name][-1]}", file=sys.stderr, flush=True)
    return found


def targets(found: dict[str, list[Finished]]) -> list[Target]:
    accuracy = statistics.mean(run.accuracy for run in found[OURS])
    where = f"mean of {len(found[OURS])} runs"
    reached = AtLeast("mean test accuracy", (Figure(accuracy, WANTED, where),), unit="")
    if THEIRS not in found:
        return [reached, target(f"mean seconds / {THEIRS}", [], reason=f"{THEIRS} did not run here")]
    means = {name: statistics.mean(run.seconds for run in runs) for name, runs in found.items()}
    return [reached, target(f"mean seconds / {THEIRS}", [Figure(means[OURS] / means[THEIRS], RATIO, where)], reason="")]


def runs_table(found: dict[str, list[Finished]]) -> str:
    rows = []
    for name, runs in found.items():
        readings = [run.with_reading for run in runs if run.with_reading is not None]
        accuracy, seconds = (_spread([getattr(run, what) for run in runs]) for what in ("accuracy", "seconds"))
        rows.append([name, str(len(runs)), accuracy, seconds, _spread(readings) if readings else "-"])
    return "## Runs\n\n" + table(["", "runs", "test accuracy", "seconds of training", "with the last reading"], rows)


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--airbench", type=Path, metavar="FILE", help="airbench94_muon.py")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/to94.md and to94.json")
    chosen = parser.parse_args(given)
    settle(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = plan(load_study("fast", ["samplers=uniform", *chosen.overrides]), folder / "none")[0].settings
        arms = {OURS: ours(settings, folder)}
        if chosen.airbench:
            arms[THEIRS] = theirs(chosen.airbench.resolve(), folder)
        found = in_turn(arms, chosen.runs)
    judged, facts = targets(found), machine((), settings.device)
    if chosen.write:
        runs: dict[str, Any] = {arm: [asdict(run) for run in each] for arm, each in found.items()}
        data = {"machine": facts, "settings": settings.model_dump(), "targets": [t.record() for t in judged], "runs": runs}
        sections = ["# Time to 94 %", METHOD, targets_section(judged), runs_table(found), machine_section(facts)]
        print(f"written: {write('to94', sections, data).name}")
    print(runs_table(found), *(each.line() for each in judged), sep="\n")


if __name__ == "__main__":
    main()
