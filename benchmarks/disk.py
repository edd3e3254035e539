"""Images on disk beside images in memory: the same step, from a memory-mapped file that is read ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.measure import Rules, interleave
from loops import Loops, Task
from training_step import Ratio

from robuststream.samplers.plb import PLB
from robuststream.samplers.uniform import Uniform

READING = 1.6
"""Most that CPU time / wall may be: the readers' threads run beside the one that trains."""

ARMS = {"uniform": Uniform, "PLB": PLB}


def compare(tasks: Sequence[Task], folder: Path, rules: Rules) -> dict[tuple[Task, str], Ratio]:
    """Throughput from disk over that from memory, both forms in one process, in turn. The file is read once before: what is
    measured is a disk that keeps up, and what reading ahead costs beside it."""
    rules, found = replace(rules, most=READING), {}
    for task in tasks:
        resident, stored = Loops(task, folder), Loops(replace(task, stored=True), folder)
        for arm, sampler in ARMS.items():
            timings = interleave({"memory": resident.ours(sampler()), "disk": stored.ours(sampler())}, rules)
            found[task, arm] = Ratio.of(timings["memory"], timings["disk"])
            resident.clear()
            stored.clear()
    return found
