"""Small runs side by side on one GPU: runs per minute, and how busy they keep it.

    python benchmarks/side_by_side.py --jobs 1 2 4 8 16 --write
    python benchmarks/side_by_side.py --device cpu --jobs 1 2 --runs 8     # the same on cores

A run is one of `bench noisy-labels` on handwritten digits: a network so small that a GPU waits for the host at every step.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import study
from harness.machine import machine
from harness.report import machine_section, table, write

ARMS = 2
METHOD = """`robuststream bench noisy-labels samplers=uniform,plb scenarios=symmetric-40` in an empty folder, with so many
`--jobs`; the seconds are those of the whole command, its start and its report included. How busy the device was is nvidia-
smi's share of seconds in which a kernel ran, asked once a second: the median."""


@dataclass(frozen=True)
class Speed:
    """Of one study."""

    jobs: int
    runs: int
    seconds: float
    training: float  # of all runs together
    busy: float | None  # share of the device's time; None where nobody tells

    @property
    def per_minute(self) -> float:
        return 60.0 * self.runs / self.seconds


def measure(jobs: int, runs: int, device: str, overrides: Sequence[str]) -> Speed:
    words = ["samplers=uniform,plb", "scenarios=symmetric-40", f"seeds={max(1, runs // ARMS)}", f"device={device}"]
    with busy_shares() as shares:
        cost = study.measure(*words, *overrides, "--jobs", str(jobs))
    return Speed(jobs, cost.runs, cost.wall, cost.spent["training"], statistics.median(shares) if shares else None)


@contextmanager
def busy_shares() -> Iterator[list[float]]:
    """Grows by a share in [0, 1] a second while it is entered; stays empty without nvidia-smi."""
    shares: list[float] = []
    if shutil.which("nvidia-smi") is None:
        yield shares
        return
    ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop=1"]
    asked = subprocess.Popen(ask, stdout=subprocess.PIPE, text=True)
    assert asked.stdout is not None
    lines = asked.stdout
    listener = threading.Thread(target=lambda: shares.extend(float(line) / 100 for line in lines if line.strip().isdigit()))
    listener.start()
    try:
        yield shares
    finally:
        asked.terminate()
        listener.join()


def speeds_table(speeds: Sequence[Speed]) -> str:
    rows = [
        [
            str(each.jobs),
            str(each.runs),
            f"{each.seconds:.1f}",
            f"{each.per_minute:.1f}",
            f"{each.training / each.runs:.2f}",
            "-" if each.busy is None else f"{each.busy:.0%}",
        ]
        for each in speeds
    ]
    header = ["side by side", "runs", "seconds", "runs per minute", "seconds of training a run", "device busy"]
    return "## Runs per minute\n\n" + table(header, rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--runs", type=int, default=32, help="of every study")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/side_by_side.md and side_by_side.json")
    chosen = parser.parse_args(given)
    speeds = []
    for jobs in chosen.jobs:
        speeds.append(measure(jobs, chosen.runs, chosen.device, chosen.overrides))
        print(f"{jobs} side by side: {speeds[-1].per_minute:.1f} runs per minute", file=sys.stderr, flush=True)
    facts: dict[str, Any] = machine((), chosen.device)
    if chosen.write:
        sections = ["# Small runs side by side", METHOD, speeds_table(speeds), machine_section(facts)]
        path = write("side_by_side", sections, {"machine": facts, "speeds": [asdict(each) for each in speeds]})
        print(f"written: {path.name}")
    print(speeds_table(speeds))


if __name__ == "__main__":
    main()
