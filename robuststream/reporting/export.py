"""A study's results for other tools: one row per run (csv, parquet), one row per arm (latex), or everything (json)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from robuststream.errors import UserError, meant
from robuststream.evidence.arms import ArmSummary
from robuststream.evidence.speedup import CURRENCIES, HEADLINE, Ladder, cost_to_target
from robuststream.evidence.summary import StudySummary, in_order, summarise
from robuststream.records import RunRecords, read_study, write_bytes
from robuststream.reporting.markdown import accuracy, gap, mean_cost, ratio
from robuststream.reporting.origin import flat

Format = Literal["csv", "parquet", "latex", "json"]

FORMATS: tuple[str, ...] = get_args(Format)

_LEFT_OUT = ("labels.matrix", "labels.per_class", "last.test_per_class", "rules", "robust")
"""No single figure, or the same in every run."""


def export(folder: Path, form: str, out: Path | None = None) -> str | None:
    """Write a study's finished runs to `out`; without it, the text to print. The same records give the same bytes.

    Raises UserError for an unknown format, a folder that is no study's, a study without a finished run, parquet without a
    file or without pyarrow, and a file that cannot be written.
    """
    if form not in FORMATS:
        raise UserError(f"unknown format '{form}'; {meant(form, FORMATS)}")
    if form == "parquet" and out is None:
        raise UserError("parquet is no text to print; name a file with --out")
    study, runs = read_study(folder)
    summary = summarise(study, runs)
    finished = in_order(study, [run for run in runs if run.result is not None])
    if not finished:
        raise UserError(f"no run of {folder} has finished yet, so there is nothing to export")
    content = _parquet(rows(summary, finished)) if form == "parquet" else _text(form, study, summary, finished).encode()
    if out is None:
        return content.decode()
    try:
        write_bytes(out, content)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror})") from None
    return None


def _text(form: str, study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> str:
    if form == "csv":
        return _csv(rows(summary, finished))
    if form == "latex":
        return latex(summary)
    return json.dumps(_plain({"study": study, "runs": [asdict(run) for run in finished]}), indent=1) + "\n"


def rows(summary: StudySummary, finished: Sequence[RunRecords]) -> list[dict[str, Any]]:
    """One flat row per run: who it is, its hyperparameters, its result, and its cost to every target (None: missed)."""
    ladders = {scenario.scenario: scenario.ladder for scenario in summary.scenarios}
    found = [_row(run, ladders[run.scenario]) for run in finished]
    columns = dict.fromkeys(key for row in found for key in row)
    return [{key: row.get(key) for key in columns} for row in found]


def _row(run: RunRecords, rungs: Ladder | None) -> dict[str, Any]:
    result = run.result or {}
    row: dict[str, Any] = {
        "scenario": run.scenario,
        "sampler": run.sampler,
        "kind": run.settings["sampler"]["kind"],
        "seed": run.seed,
        "budget": run.budget,
    }
    row |= {f"sampler.{key}": value for key, value in flat(run.arm["settings"])}
    row |= {f"scenario.{key}": value for key, value in flat(run.settings["scenario"]["settings"])}
    row |= {key: value for key, value in flat(result) if key not in _LEFT_OUT and key.partition(".")[0] != "scenario"}
    row |= {f"figure.{name}": value for name, value in result.get("scenario", {}).items()}
    for found in result.get("robust", []):
        row |= {f"robust.eps{found['eps']:.4g}.{name}": count / found["examples"] for name, count in _standing(found).items()}
    for rung, target in (rungs.targets if rungs else {}).items():
        row |= {f"cost.{rung}.{key}": cost_to_target(run.evaluations, target, key) for key in (*CURRENCIES, "spent")}
    return {key: str(value) if isinstance(value, (list, dict)) else _plain(value) for key, value in row.items() if value != {}}


def _standing(found: dict[str, Any]) -> dict[str, int]:
    """How many of the examples were correct: of the clean ones, after each attack, and after all."""
    return {"clean": found["clean"], **found["attacks"], "worst": found["standing"].count("1")}


def _csv(table: Sequence[dict[str, Any]]) -> str:
    """Empty where a run has no such figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, table[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _parquet(table: Sequence[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("parquet needs pyarrow; install it with: pip install 'robuststream[parquet]'") from None
    columns = {key: [row[key] for row in table] for key in table[0]}
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({key: _one_type(values) for key, values in columns.items()}), sink)
    return sink.getvalue()


def _one_type(values: list[Any]) -> list[Any]:
    """A column holds one type: numbers together, and text where runs mix numbers with something else."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) == 1:
        return [float(value) if kinds == {int, float} and value is not None else value for value in values]
    return [None if value is None else str(value) for value in values]


def _plain(value: Any) -> Any:
    """As JSON knows it: NaN and infinity, in whatever is nested, are null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# LaTeX

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: f"\\{sign}" for sign in "&%$#_{}"
}


def latex(summary: StudySummary) -> str:
    """The main table for a paper, with booktabs: accuracy, gap, speed-up, reach and mean cost by scenario and sampler."""
    rung = HEADLINE[0]
    headers = ["sampler", r"test accuracy, \%", "gap, points", f"speed-up to {rung}", "reached", r"mean cost, \% budget"]
    lines = [r"% needs \usepackage{booktabs}", r"\begin{tabular}{lrrrrr}", r"\toprule", f"{' & '.join(headers)} \\\\"]
    for scenario in summary.scenarios:
        lines += [r"\midrule", f"\\multicolumn{{6}}{{l}}{{\\textit{{{tex(scenario.scenario)}}}}} \\\\"]
        lines += [f"{' & '.join(_cells(arm, arm.sampler == summary.baseline))} \\\\" for arm in scenario.arms]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cells(arm: ArmSummary, base: bool) -> list[str]:
    reach = arm.reach.get(HEADLINE[0])
    found = [
        accuracy(arm.last_test),
        "baseline" if base else gap(arm.gap),
        "1" if base else ratio(arm.speedups.get(HEADLINE)),
        f"{reach.reached}/{reach.runs}" if reach else "–",
        mean_cost(arm.restricted.get(HEADLINE[0])).replace(" %", ""),
    ]
    return [tex(arm.sampler), *(_math(cell) for cell in found)]


def _math(cell: str) -> str:
    return cell.replace("±", r"$\pm$").replace("×", r"$\times$").replace("-", "$-$").replace("–", "--")


def tex(text: str) -> str:
    """A name as LaTeX prints it."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))
