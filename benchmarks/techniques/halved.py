"""Robust and clean accuracy of every arm at each budget of halved.yaml, less uniform's at the whole budget, paired by seed.

python benchmarks/techniques/halved.py reports/techniques/halved            # prints the table
python benchmarks/techniques/halved.py reports/techniques/halved --write    # and writes halved.md there
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from robuststream.evidence._flag import result_of
from robuststream.evidence.arms import paired_points
from robuststream.records import RunRecords, read_study, write_text
from robuststream.reporting.markdown import table

BASE = "uniform"

INTRO = """# Half the compute under attack

From the runs of this study, by `python benchmarks/techniques/halved.py`. Robust: test accuracy after the attacks that the
recipe names, in percent, mean of seeds; gap: points less uniform's at the whole budget on the same seeds, with 95 % interval."""


def robust(run: RunRecords) -> float:
    """Worst case over the attacks, percent of the attacked examples."""
    found = result_of(run)["robust"][0]
    return 100 * min(found["attacks"].values()) / found["examples"]


def clean(run: RunRecords) -> float:
    return 100 * result_of(run)["last"]["test_accuracy"]


def rows(runs: Sequence[RunRecords]) -> list[list[str]]:
    """One for each arm and budget, in the study's order."""
    cells: dict[tuple[str, float], list[RunRecords]] = {}
    for run in runs:
        cells.setdefault((run.sampler, run.budget), []).append(run)
    whole = max(budget for _, budget in cells)
    base = {run.seed: run for run in cells[BASE, whole]}
    return [
        [arm, f"{budget / whole:g}", str(len(own)), *_entries(own, base, robust), *_entries(own, base, clean)]
        for (arm, budget), own in cells.items()
    ]


def _entries(own: Sequence[RunRecords], base: dict[int, RunRecords], figure: Callable[[RunRecords], float]) -> list[str]:
    gap = paired_points([figure(run) - figure(base[run.seed]) for run in own if run.seed in base])
    ends = f" [{gap.interval.low:+.2f}, {gap.interval.high:+.2f}]" if gap and gap.interval else ""
    return [f"{fmean(map(figure, own)):.2f}", f"{gap.points:+.2f}{ends}" if gap else "–"]


HEAD = ("arm", "budget", "runs", "robust, %", "gap, points", "clean, %", "gap, points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    _, runs = read_study(options.folder)
    text = f"{INTRO}\n\n{table(HEAD, rows([run for run in runs if run.result]))}\n"
    print(text)
    if options.write:
        write_text(options.folder / "halved.md", text)


if __name__ == "__main__":
    main()
