"""What a study costs beside its training: the shipped study, and ten thousand tiny runs.

    python benchmarks/study.py --tiny 100             # the shipped study, and a hundred tiny runs
    python benchmarks/study.py --write                # all 10,000; writes study.md and study.json in reports/benchmarks

The machine must be quiet: the shipped study is held to seconds. All that is not a run's own training counts as beside it, from
the start of the command to the end of its report: start-up, set-up, evaluation, checkpoints, reporting, and cores left idle.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine import machine
from harness.report import machine_section, table, targets_section, write
from harness.targets import Figure, Target, target

from robuststream import records
from robuststream.study.nursery import cores

TINY = ("scenarios=symmetric-40", "recipe.train_size=600", "recipe.model=mlp", "recipe.evaluations=2", "budget=60")
ARMS = 8
ACCOUNTS = ("evaluation", "checkpoint", "compile")

METHOD = """`robuststream bench noisy-labels` in an empty folder, one run per core side by side, as a user types it. A share is of
all core seconds: cores times the seconds from the command's start to its end. Set-up is a run's data, network and sampler. What
no account of a run holds is start-up, hand-over between runs, the report, and cores left idle at the end. Tiny runs are those of
the same study with `{}`.""".format(" ".join(TINY))


@dataclass(frozen=True)
class Cost:
    """Of one study: seconds by the clock on the wall, and core seconds by what they went into."""

    runs: int
    wall: float
    spent: dict[str, float]

    @property
    def capacity(self) -> float:
        return self.wall * cores()

    @property
    def beside(self) -> float:
        """The share that is not training."""
        return 1.0 - self.spent["training"] / self.capacity


def measure(*settings: str) -> Cost:
    """Run the study in a process of its own, and read what its runs noted."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        bench(folder, *settings)
        wall = time.perf_counter() - began
        _, runs = records.read_study(Path(folder))
    seconds = [run.result["seconds"] for run in runs]
    spent = {"training": sum(each["train"] for each in seconds)}
    spent |= {"set-up" if name == "compile" else name: sum(each[name] for each in seconds) for name in ACCOUNTS}
    return Cost(len(runs), wall, spent | {"all else": wall * cores() - sum(spent.values())})


def bench(folder: str, *settings: str) -> None:
    command = [sys.executable, "-m", "robuststream", "bench", "noisy-labels", "--out", folder, *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def targets(shipped: Cost, tiny: Cost) -> list[Target]:
    return [
        target("the shipped study", [Figure(shipped.wall, 120.0, f"{shipped.runs} runs, {cores()} cores")], unit=" s", reason=""),
        target("beside training, the shipped study", [_figure(shipped, 0.15)], unit="", reason=""),
        target("beside training, tiny runs", [_figure(tiny, 0.05)], unit="", reason=""),
    ]


def _figure(cost: Cost, limit: float) -> Figure:
    return Figure(cost.beside, limit, f"{cost.runs:,} runs of {cost.spent['training'] / cost.runs:.2f} s")


def tables(costs: dict[str, Cost]) -> str:
    names = list(next(iter(costs.values())).spent)
    rows = [
        [name, f"{cost.runs:,}", f"{cost.wall:.1f}", *(f"{cost.spent[each] / cost.capacity:.1%}" for each in names)]
        for name, cost in costs.items()
    ]
    return "## Where core seconds go\n\n" + table(["", "runs", "seconds", *names], rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", type=int, default=10_000, metavar="N", help="how many tiny runs (10,000: hours)")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/study.md and study.json")
    chosen = parser.parse_args(given)
    facts: dict[str, Any] = machine(())
    seeds = max(1, chosen.tiny // ARMS)
    costs = {"the shipped study": measure(), "tiny runs": measure(*TINY, f"seeds={seeds}")}
    judged = targets(*costs.values())
    sections = ["# A whole study", METHOD, targets_section(judged), tables(costs), machine_section(facts)]
    if chosen.write:
        data = {"machine": facts, "targets": [t.record() for t in judged], "costs": {k: vars(cost) for k, cost in costs.items()}}
        print(f"written: {write('study', sections, data).name}")
    print(tables(costs), *(each.line() for each in judged), sep="\n")


if __name__ == "__main__":
    main()
