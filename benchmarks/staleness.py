"""The front of freshness: concordance against what refreshing costs, from the runs of the study. `--help`"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robuststream.records import RunRecords, read_study, write_text

QUARTERS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, np.inf))
INTRO = """# The front of freshness

From the runs of this study, by `python benchmarks/staleness.py --write`. Concordance: the share of pairs of examples that stored
values order as fresh ones do, averaged over evaluations from the stream's beginning on, in quarters of the budget and in all.
Refreshing: forwards beside the training pass and the first look at the pool, in percent of everything charged. Front: no
arm of the same kind is both as cheap and better ordered. All are means over seeds; in brackets, their standard deviation."""


@dataclass(frozen=True)
class Arm:
    """One arm over its seeds."""

    label: str
    kind: str
    refreshing: float  # percent of the charged FLOPs
    overall: float
    spread: float  # standard deviation over seeds of each seed's mean
    quarters: tuple[float, ...]
    fresh: float  # share of evaluations with concordance of 0.9 or more
    accuracy: float  # test, last step

    @staticmethod
    def of(runs: Sequence[RunRecords], first_look: float) -> Arm | None:
        """None where nothing is stored."""
        curves = [[(e["spent"], e["concordance"]) for e in run.evaluations if e["concordance"] is not None] for run in runs]
        if not all(curves):
            return None
        points = np.array([point for curve in curves for point in curve])
        means = [np.mean([concordance for _, concordance in curve]) for curve in curves]
        spent, concordance = points.T
        results = [run.result for run in runs if run.result]
        return Arm(
            label=runs[0].sampler,
            kind=runs[0].settings["sampler"]["kind"],
            refreshing=float(np.mean([refreshing(result, first_look) for result in results])),
            overall=float(np.mean(means)),
            spread=float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
            quarters=tuple(mean(concordance[(spent > a) & (spent <= b)]) for a, b in QUARTERS),
            fresh=float((concordance >= 0.9).mean()),
            accuracy=float(np.mean([result["last"]["test_accuracy"] for result in results])),
        )


def mean(values: np.ndarray) -> float:
    """Not a number where there is none: no pair could be told apart."""
    return float(values.mean()) if len(values) else float("nan")


def refreshing(result: dict, first_look: float) -> float:
    """Percent of the charged FLOPs that went into forwards after the first look at the pool."""
    totals = result["totals"]
    return 100.0 * (totals["forwards"]["probe"] - first_look) * totals["flops_per_forward"] / totals["flops"]


def first_look(arm: str, runs: Sequence[RunRecords]) -> float:
    """Forwards with which the arm's kind begins: those of its arm that probes least."""
    kinds = {run.sampler: run.settings["sampler"]["kind"] for run in runs}
    return min(run.result["totals"]["forwards"]["probe"] for run in runs if run.result and kinds[run.sampler] == kinds[arm])


def on_front(arm: Arm, arms: Sequence[Arm]) -> bool:
    rivals = [other for other in arms if other.kind == arm.kind and other is not arm]
    return not any(other.overall > arm.overall and other.refreshing <= arm.refreshing for other in rivals)


def figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def table(arms: Sequence[Arm]) -> str:
    head = "| arm | refreshing, % | concordance | 1st quarter | 2nd | 3rd | 4th | evaluations >= 0.9 | test accuracy, % | front |"
    rows = [
        f"| {arm.label} | {arm.refreshing:.1f} | {arm.overall:.3f} ({figure(arm.spread)}) | "
        + " | ".join(figure(quarter) for quarter in arm.quarters)
        + f" | {100 * arm.fresh:.0f} % | {100 * arm.accuracy:.2f} | {'front' if on_front(arm, arms) else ''} |"
        for arm in sorted(arms, key=lambda arm: (arm.kind, arm.refreshing))
    ]
    return "\n".join([head, "| :-- |" + " --: |" * 8 + " :-- |", *rows])


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("reports/staleness"), help="what bench staleness wrote")
    parser.add_argument("--write", action="store_true", help="write front.md beside the report")
    chosen = parser.parse_args(given)
    _, runs = read_study(chosen.folder)
    runs = [run for run in runs if run.result]
    for scenario in dict.fromkeys(run.scenario for run in runs):
        here = [run for run in runs if run.scenario == scenario]
        labels = dict.fromkeys(run.sampler for run in here)
        found = [Arm.of([run for run in here if run.sampler == label], first_look(label, here)) for label in labels]
        text = table([arm for arm in found if arm])
        print(text)
        if chosen.write:
            name = "front.md" if scenario == "clean" else f"front-{scenario}.md"
            write_text(chosen.folder / name, f"{INTRO}\n\n{text}\n")


if __name__ == "__main__":
    main()
