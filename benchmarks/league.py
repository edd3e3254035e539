"""The league: every sampler under every scenario on several data sets, in one table and one figure.

    python benchmarks/league.py --run                 # the studies, one after the other; what is finished is skipped
    python benchmarks/league.py --write               # league.md, league.png and league.svg from what is there

A study of its own for every data set lies in reports/samplers/DATA, measured by `robuststream bench samplers`; pieces of any
length do, since a bench that is stopped goes on. Nothing is compared between data sets: an arm's gap and speed-up are over
uniform on the same seeds, labels and budget, and only then put together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robuststream.evidence.across import across_scenarios
from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import ScenarioSummary, StudySummary, summarise
from robuststream.records import RunRecords, read_study, write_text
from robuststream.reporting import style
from robuststream.reporting.markdown import escape, table
from robuststream.reporting.matrix import across_rows, matrix_table
from robuststream.reporting.sides import accuracy_side, speed_side
from robuststream.reporting.words import ACROSS_CAPTION

FOLDER = Path(__file__).parent.parent / "reports" / "samplers"

LABELS = "scenarios=clean,symmetric-40,asymmetric-40,instance-40"
PART = ("recipe.model_settings.width=8", "recipe.train_size=4000", "recipe.test_size=2000", "recipe.validation=0.02")
STUDIES = {
    "digits": (),
    "mnist": ("recipe=mnist-small", LABELS),
    "fashion-mnist": ("recipe=fashion-mnist-small", LABELS),
    "cifar10": ("recipe=cifar10-small", *PART, "scenarios=clean,symmetric-40,asymmetric-40,human-worst"),
}
"""Data set -> what `bench samplers` is told. Mistakes that people made stand for those that depend on the image."""

Read = Mapping[str, tuple[dict[str, Any], Sequence[RunRecords]]]
"""Data set -> its study as it is on disk."""

MOST_POINTS = 10.0
"""Where the colours of the figure end, in percentage points."""

ABOVE, BELOW = ("better", "up"), ("worse", "down")

INTRO = """# The league

Every sampler by its published defaults, under every scenario, on every data set measured so far; written by
`python benchmarks/league.py --write` from the studies in the folders beside this file, which were made by

{commands}

Each cell is an arm against uniform on the same seeds, labels, initial weights and charged compute: its speed-up in charged FLOPs
to T95, and below it the difference of its test accuracy at the last step, in percentage points. Bold is a claim (10 paired seeds
or more); with fewer it is *reported*, *measured* where no interval exists, and *no difference shown* where the interval holds 1
or 0. A scenario is here once all of its runs are finished; doubts about single cells are in the reports of the studies."""


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument("--write", action="store_true", help="write the table and the figure")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the studies are [reports/samplers]")
    parser.add_argument("--data", default=",".join(STUDIES), help="data sets, separated by commas")
    chosen = parser.parse_args(given)
    names = chosen.data.split(",")
    if chosen.run:
        for name in names:
            subprocess.run([sys.executable, "-m", *command(name, chosen.folder)], check=True)
    found = {name: read_study(chosen.folder / name) for name in names if (chosen.folder / name / "study.json").is_file()}
    summary = together(found) if found else None
    if summary is None or not summary.scenarios:
        sys.exit(f"no scenario in {chosen.folder} is finished yet; use --run")
    text = page(summary, list(found))
    print(text)
    if chosen.write:
        write_text(chosen.folder / "league.md", text)
        draw(summary, chosen.folder)


def command(name: str, folder: Path) -> list[str]:
    return ["robuststream", "bench", "samplers", *STUDIES[name], "--out", str(folder / name)]


def together(found: Read) -> StudySummary:
    """Several studies as one, with scenarios called `DATA: SCENARIO`. Raises ValueError where arms or seeds differ."""
    first = next(iter(found.values()))[0]
    for name, (study, _) in found.items():
        if (study["seeds"], study["samplers"]) != (first["seeds"], first["samplers"]):
            raise ValueError(f"{name} was measured with other arms or other seeds than the first")
    parts = {name: summarise(study, runs) for name, (study, runs) in found.items()}
    scenarios = [
        replace(one, scenario=f"{name}: {one.scenario}") for name, part in parts.items() for one in part.scenarios if _whole(one)
    ]
    cells: dict[str, dict[str, list[RunRecords]]] = {entry["label"]: defaultdict(list) for entry in first["samplers"]}
    for name, (_, runs) in found.items():
        for run in runs:
            if run.result is not None:
                cells[run.sampler][f"{name}: {run.scenario}"].append(run)
    some = next(iter(parts.values()))
    return replace(
        some,
        name="league",
        planned=sum(part.planned for part in parts.values()),
        finished=sum(part.finished for part in parts.values()),
        scenarios=tuple(scenarios),
        flags=(),  # each study's own report tells them
        across=across_scenarios(cells, some.baseline, {one.scenario: one.ladder for one in scenarios}),
    )


def _whole(scenario: ScenarioSummary) -> bool:
    return all(arm.finished == arm.planned for arm in scenario.arms)


def page(summary: StudySummary, names: Sequence[str]) -> str:
    """The league as Markdown."""
    commands = "\n".join("    " + " ".join(command(name, Path("reports/samplers"))) for name in names)
    over_all = ["## Over all scenarios", _ranked(summary), ACROSS_CAPTION] if summary.across else []
    parts = [
        INTRO.format(commands=commands),
        f"{summary.finished} of {summary.planned} runs, {len(summary.seeds)} seeds.",
        *over_all,
        "## Scenario by scenario",
        table(TALLY, tally(summary)),
        "Best and fastest are of the arms beside uniform; above, below, faster and slower count arms whose interval says so.",
        "## Every arm",
        matrix_table(summary),
        "![Difference of final test accuracy to uniform](league.svg)",
    ]
    return "\n\n".join(parts) + "\n"


def _ranked(summary: StudySummary) -> str:
    """The table over all scenarios, the best interquartile mean first."""
    head, *rows = across_rows(summary)
    means = [-one.accuracy.value if one.accuracy else 0.0 for one in summary.across]
    return table(head, [rows[place] for place in np.argsort(means, kind="stable")])


TALLY = ("data set: scenario", "best accuracy", "points", "fastest to T95", "above uniform", "below", "faster", "slower")


def tally(summary: StudySummary) -> list[list[str]]:
    """For every scenario: who ends highest, who is fastest, and how many arms lie on which side of uniform."""
    rows = []
    for scenario in summary.scenarios:
        arms = [arm for arm in scenario.arms if arm.gap is not None]
        highest, quick = max(arms, key=points), max(arms, key=speed)
        fastest = f"{escape(quick.sampler)} {speed(quick):.2f}×" if np.isfinite(speed(quick)) else "nobody"
        sides = ([accuracy_side(arm) for arm in arms], [speed_side(arm) for arm in arms])
        counts = [str(sum(side in of for side in found)) for found in sides for of in (ABOVE, BELOW)]
        rows.append([escape(scenario.scenario), escape(highest.sampler), f"{points(highest):+.2f}", fastest, *counts])
    return rows


def points(arm: ArmSummary) -> float:
    return arm.gap.points if arm.gap is not None else -np.inf


def speed(arm: ArmSummary) -> float:
    """Speed-up in charged FLOPs to T95; minus infinity where there is none."""
    found = arm.speedups.get(HEADLINE)
    return found.ratio.value if found and found.ratio else -np.inf


def draw(summary: StudySummary, folder: Path) -> None:
    """One coloured cell per arm and scenario: points above (green) or below (brown) uniform; a dot where the interval says so."""
    labels = [arm.sampler for arm in summary.scenarios[0].arms if arm.sampler != summary.baseline]
    cells = [{arm.sampler: arm for arm in scenario.arms} for scenario in summary.scenarios]
    found = np.array([[points(cell[label]) for cell in cells] for label in labels])
    order = np.argsort(-np.clip(found, -MOST_POINTS, MOST_POINTS).mean(axis=1), kind="stable")
    dots = [
        (x, y) for y, row in enumerate(order) for x, cell in enumerate(cells) if accuracy_side(cell[labels[row]]) in ABOVE + BELOW
    ]
    with style.styled():
        figure, ((axes,),) = style.grid(1, 1, (2.6 + 0.42 * len(cells), 1.6 + 0.2 * len(labels)))
        shown = axes.imshow(found[order], cmap="BrBG", vmin=-MOST_POINTS, vmax=MOST_POINTS, aspect="auto")
        axes.plot(*np.reshape(dots, (-1, 2)).T, "o", markersize=3, color="white", mec=style.BASELINE, mew=0.6)
        data_sets = [one.scenario.partition(":")[0] for one in summary.scenarios]
        borders = [x - 0.5 for x in range(1, len(cells)) if data_sets[x] != data_sets[x - 1]]
        axes.vlines(borders, -0.5, len(labels) - 0.5, color=style.BASELINE, linewidth=1)
        axes.set_yticks(range(len(labels)), [labels[row] for row in order])
        axes.set_xticks(range(len(cells)), [one.scenario for one in summary.scenarios], rotation=60, ha="right")
        axes.grid(visible=False)
        figure.colorbar(shown, ax=axes, extend="both", fraction=0.04, label="final test accuracy, points above uniform")
        style.save(figure, "league", folder, pdf=False)


if __name__ == "__main__":
    main()
