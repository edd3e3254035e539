"""Does bf16 cost accuracy? The same uniform runs in float32 and in bf16, paired by seed. `precision.py --help`"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness.machine import machine, one_thread
from harness.report import machine_section, table, write
from scipy import stats

from robuststream.studies import load_study
from robuststream.study.allocator import keep_memory
from robuststream.study.plan import plan
from robuststream.training.loop import train

FORMS = {
    "fp32": ("recipe.precision=fp32", "recipe.channels_last=false"),
    "bf16": ("recipe.precision=bf16", "recipe.channels_last=true"),
}
CELLS = {"small-cnn, clean": "clean", "small-cnn, 40 % of the labels wrong": "symmetric-40"}

METHOD = """`uniform` on the digits, the recipe of `bench noisy-labels`; bf16 is autocast with channels-last memory, weights and
losses in float32. The two forms of a seed share split, labels, initial weights and order, so differences are of arithmetic
alone. "Within noise" means that the 95 % interval (paired t) of the mean difference holds 0, or that the difference is below half
of the deviation between seeds."""


@dataclass(frozen=True)
class Compared:
    """Test accuracies in percent of both forms, seed by seed."""

    fp32: np.ndarray  # (seeds,)
    bf16: np.ndarray

    @property
    def difference(self) -> float:
        return float((self.bf16 - self.fp32).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of the mean difference; a point where all seeds agree."""
        gaps = self.bf16 - self.fp32
        half = float(stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
        return self.difference - half, self.difference + half

    @property
    def within_noise(self) -> bool:
        low, high = self.interval
        return low <= 0.0 <= high or abs(self.difference) < 0.5 * float(self.fp32.std(ddof=1))

    def row(self) -> list[str]:
        low, high = self.interval
        each = [f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" for values in (self.fp32, self.bf16)]
        return [*each, f"{self.difference:+.2f} ({low:+.2f} to {high:+.2f})", "yes" if self.within_noise else "NO"]


def compare(scenario: str, seeds: int, overrides: Sequence[str]) -> Compared:
    """Train both forms of every seed, one after the other."""
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    for form, settings in FORMS.items():
        study = load_study("noisy-labels", ["samplers=uniform", f"scenarios={scenario}", f"seeds={seeds}", *settings, *overrides])
        with tempfile.TemporaryDirectory() as name:
            for run in plan(study, Path(name)):
                run.folder.mkdir(parents=True)
                found[form].append(100.0 * train(run.settings, run.folder)["last"]["test_accuracy"])
    return Compared(*(np.array(found[form]) for form in FORMS))


def main(given: Sequence[str] | None = None) -> bool:
    """Print the table, write it where that was asked; whether all differences are within noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="key=value, as for bench")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/precision.md and precision.json")
    chosen = parser.parse_args(given)
    one_thread()
    keep_memory()
    facts = machine(())
    compared = {name: compare(scenario, chosen.seeds, chosen.overrides) for name, scenario in CELLS.items()}
    header = ["", "fp32, test accuracy %", "bf16", "difference, points", "within noise"]
    told = table(header, [[name, *each.row()] for name, each in compared.items()])
    print(told)
    if chosen.write:
        cells = {name: {form: getattr(each, form).tolist() for form in FORMS} for name, each in compared.items()}
        sections = ["# bf16 beside float32", METHOD, f"{chosen.seeds} seeds.", told, machine_section(facts)]
        print(f"written: {write('precision', sections, {'machine': facts, 'test_accuracy': cells}).name}")
    return all(each.within_noise for each in compared.values())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
