"""Robust and clean accuracy by learning rate, arm and budget, less uniform's at the whole budget of the first study.

    python benchmarks/techniques/halved.py reports/techniques/halved*            # prints the table
    python benchmarks/techniques/halved.py reports/techniques/halved* --write    # and writes halved.md into the first folder

Studies as halved.yaml names them, the one at the recipe's own rate first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from robuststream.evidence._flag import result_of
from robuststream.evidence.arms import paired_points
from robuststream.records import RunRecords, read_study, write_text
from robuststream.reporting.markdown import gap, table

BASE = "uniform"

INTRO = """# Half the compute under attack

From the runs of this study and those beside it, by `python benchmarks/techniques/halved.py`. Robust: test accuracy after
PGD-20, in percent, mean of seeds; gap: points less uniform's at the whole budget and the recipe's own rate (.02), on the same
seeds, with 95 % interval."""


def robust(run: RunRecords) -> float:
    """Worst case over the attacks, percent of the attacked examples."""
    found = result_of(run)["robust"][0]
    return 100 * min(found["attacks"].values()) / found["examples"]


def clean(run: RunRecords) -> float:
    return 100 * result_of(run)["last"]["test_accuracy"]


def rows(runs: Sequence[RunRecords]) -> list[list[str]]:
    """One for each rate, arm and budget; the first run's rate is the one that all are compared with."""
    cells: dict[tuple[float, float, str], list[RunRecords]] = {}
    for run in runs:
        cells.setdefault((run.settings["recipe"]["lr"], run.budget, run.sampler), []).append(run)
    first, whole = runs[0].settings["recipe"]["lr"], max(run.budget for run in runs)
    base = {run.seed: run for run in cells[first, whole, BASE]}
    return [
        [arm, f"{rate:g}", f"{budget / whole:g}", str(len(own)), *_entries(own, base, robust), *_entries(own, base, clean)]
        for (rate, budget, arm), own in sorted(cells.items(), key=lambda cell: cell[0][:2])
    ]


def _entries(own: Sequence[RunRecords], base: dict[int, RunRecords], figure: Callable[[RunRecords], float]) -> list[str]:
    found = paired_points([figure(run) - figure(base[run.seed]) for run in own if run.seed in base])
    return [f"{fmean(map(figure, own)):.2f}", gap(found)]


HEAD = ("arm", "rate", "budget", "runs", "robust, %", "gap, points", "clean, %", "gap, points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    runs = [run for folder in options.folders for run in read_study(folder)[1] if run.result]
    text = f"{INTRO}\n\n{table(HEAD, rows(runs))}\n"
    print(text)
    if options.write:
        write_text(options.folders[0] / "halved.md", text)


if __name__ == "__main__":
    main()
