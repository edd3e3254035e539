"""From the records of a study to report.md with its figures. Nothing in a report is typed by hand."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from robuststream.evidence.clock import side_by_side
from robuststream.evidence.flags import Flag
from robuststream.evidence.summary import ScenarioSummary, StudySummary, in_order, summarise
from robuststream.evidence.tradeoff import at_whole_budget
from robuststream.records import RunRecords, read_failures, read_study, write_archive, write_text
from robuststream.reporting import classes, matrix, origin, robustness, tables, versus, words
from robuststream.reporting.markdown import NONE, escape
from robuststream.reporting.verdict import verdicts

if TYPE_CHECKING:
    from robuststream.reporting.figures import Each
    from robuststream.reporting.style import Drawn

REPORT = "report.md"

_PLACES = 6  # named in full beside a flag


@contextmanager
def _collector_resting() -> Iterator[None]:
    """Without Python's search for cycles: it would look at the millions of figures of a large study again and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_collector_resting()
def write_report(
    folder: Path,
    pdf: bool = False,
    each: Each | None = None,
    summarised: Callable[[StudySummary], object] = lambda summary: None,
) -> Path:
    """Write `report.md`, `report.html`, `figures/` and the archive of finished runs into a study's folder; the first's path.

    A study that is partly finished is reported as far as it got; with `pdf` the figures come as PDF as well; `each` may draw
    them side by side; `summarised` is shown the summary before anything is drawn. Raises UserError where the folder is no
    study's, or was measured under other rules.
    """
    from robuststream.reporting.figures import draw_all  # matplotlib is slow to import, and not needed to refuse a folder
    from robuststream.reporting.page import PAGE, render_page

    study, runs = read_study(folder)
    summary = summarise(study, runs)
    summarised(summary)
    finished = at_whole_budget(study, in_order(study, [run for run in runs if run.result is not None]))
    figures = draw_all(summary, finished, folder / "figures", pdf, each)
    told = context(study, runs, summary) | {"failures": _failures(folder, study)}
    write_archive(folder, runs)
    write_text(folder / PAGE, render_page(study, summary, finished, told))
    write_text(folder / REPORT, render(told, figures))
    return folder / REPORT


def context(study: dict[str, Any], runs: Sequence[RunRecords], summary: StudySummary) -> dict[str, Any]:
    """Every sentence and table of the report, as Markdown."""
    finished = at_whole_budget(study, in_order(study, [run for run in runs if run.result is not None]))
    told = _head(study, summary, finished) | _settings(study, runs, finished)
    return told | _results(study, summary, finished) if finished else told


def render(told: dict[str, Any], figures: Sequence[Drawn] = ()) -> str:
    """The report as Markdown: `told` is its `context`, `figures` are what `draw_all` returned."""
    environment = Environment(
        loader=PackageLoader("robuststream.reporting", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("report.md.jinja").render(told | _figures(figures))
    return "\n".join(_without_double_blanks(text.split("\n")))


def _head(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> dict[str, Any]:
    told = [_told(number, flag) for number, flag in enumerate(summary.flags, 1)]
    return {
        "name": escape(study["name"]),
        "about": escape(study["about"]),
        "asked": words.asked(study, summary, finished),
        "finished": len(finished),
        "command": " ".join(study["command"].replace("`", "'").split()),
        "failures": [],
        "flags": told,
        "grave": [flag for flag in told if flag["doubts"] == "everything"],
        "dash": NONE,
    }


def _failures(folder: Path, study: dict[str, Any]) -> list[dict[str, str]]:
    failures = read_failures(folder, study["runs"])
    return [{"run": escape(name), "reason": escape(reason)} for name, reason in failures.items()]


def _told(number: int, flag: Flag) -> dict[str, Any]:
    places = [escape(place) for place in flag.where]
    if len(places) > _PLACES:
        places = [f"{len(places)} combinations of sampler and scenario, marked in the tables"]
    return {
        "number": number,
        "name": flag.name,
        "doubts": flag.doubts,
        "where": "; ".join(places),
        "sentence": escape(flag.sentence),
    }


def _figures(drawn: Sequence[Drawn]) -> dict[str, list[dict[str, Any]]]:
    """Numbered in the order of the page: the main one, the speed-ups', those of robustness, then what was drawn."""
    told = [
        {"number": number, "name": figure.name, "title": escape(figure.title), "caption": figure.caption}
        for number, figure in enumerate(drawn, 1)
    ]
    placed = {name: [figure for figure in told[1:] if figure["name"] == name] for name in ("accuracy-close", "tradeoff")}
    planes = [figure for figure in told[1:] if figure["name"].startswith("robust-plane")]
    details = [figure for figure in told[1:] if figure["name"] not in placed and figure not in planes]
    return {
        "main_figure": told[:1],
        "close": placed["accuracy-close"],
        "curves": placed["tradeoff"],
        "planes": planes,
        "details": details,
    }


def _results(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords]) -> dict[str, Any]:
    overlapping, robust = side_by_side(finished), robustness.section(summary, finished)
    return {
        "verdicts": verdicts(summary),
        "matrix": matrix.matrix_table(summary) if summary.baseline else "",
        "matrix_caption": words.MATRIX_CAPTION,
        "across": matrix.across_table(summary),
        "across_caption": words.ACROSS_CAPTION,
        "placebos": versus.as_table(versus.placebo_rows(summary)),
        "placebo_caption": versus.PLACEBO_CAPTION,
        "tradeoff": versus.as_table(versus.tradeoff_rows(summary, study["recipe"]["budget"]["unit"])),
        "tradeoff_caption": versus.TRADEOFF_CAPTION,
        "sections": [_section(scenario, summary) for scenario in summary.scenarios],
        "main_caption": words.main_caption(summary),
        "ladder": tables.ladder_table(summary),
        "no_speedups": words.no_speedups(summary),
        "speed_intro": words.speed_intro(study["recipe"]),
        "speed_caption": words.speed_caption(summary, overlapping),
        "accuracy_caption": words.ACCURACY_CAPTION,
        "by_noise": classes.noise_kind_table(finished),
        "by_noise_caption": classes.NOISE_CAPTION,
        "by_class": classes.class_tables(finished),
        "drawn": tables.drawn_table(summary),
        "costs": tables.cost_table(summary),
        "seconds_caption": words.seconds_note(overlapping),
        "phases": tables.phase_table(summary),
        "counters": tables.counter_table(summary),
        "noise": {"table": origin.noise_table(finished), "matrices": origin.matrices(finished)},
        "robust": robust,
        "glossary": (words.GLOSSARY | (robustness.GLOSSARY if robust else {})).items(),
    }


def _section(scenario: ScenarioSummary, summary: StudySummary) -> dict[str, Any]:
    return {
        "title": escape(scenario.scenario),
        "main": tables.main_table(scenario, summary),
        "speed": tables.speedup_table(scenario, summary),
        "accuracy": tables.accuracy_table(scenario, summary),
        "own": tables.figures_table(scenario),
    }


def _settings(study: dict[str, Any], runs: Sequence[RunRecords], finished: Sequence[RunRecords]) -> dict[str, Any]:
    return {
        "recipe": origin.recipe_table(study["recipe"]),
        "samplers": origin.sampler_table(study, runs),
        "scenarios": origin.scenario_table(study, runs),
        "provenance": origin.provenance_table(study, finished),
        "rebuild": words.REBUILD,
    }


def _without_double_blanks(lines: Sequence[str]) -> list[str]:
    """Template blocks that were left out leave their blank lines behind."""
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line.strip() or before.strip()]
