"""`report.html`: the whole report in one file that needs no network. Foreign names enter as text, never as markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robuststream.evidence.summary import StudySummary
from robuststream.records import RunRecords
from robuststream.reporting.curves import band
from robuststream.reporting.matrix import across_rows
from robuststream.reporting.page_data import page_data
from robuststream.reporting.versus import placebo_rows, tradeoff_rows

PAGE = "report.html"

_TELLING = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Signs that could end a script element, or a line in it."""


def render_page(study: dict[str, Any], summary: StudySummary, finished: Sequence[RunRecords], told: dict[str, Any]) -> str:
    """The page; `told` are the sentences of the Markdown report, from `report.context`."""
    environment = Environment(
        loader=PackageLoader("robuststream.reporting", ""),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    context: dict[str, Any] = {
        "name": study["name"],
        "about": study["about"],
        "asked": as_html(told["asked"]),
        "finished": len(finished),
        "rules": study["rules"],
        "style": _source("page.css"),
    }
    if finished:
        context |= {
            "verdicts": [as_html(line) for line in told["verdicts"]],
            "flags": [{key: as_html(str(value)) for key, value in flag.items()} for flag in told["flags"]],
            "band": band(*summary.depth),
            "across": _cells(across_rows(summary)),
            "placebos": _cells(placebo_rows(summary)),
            "placebo_caption": as_html(told["placebo_caption"].strip("*")),
            "tradeoff": _cells(tradeoff_rows(summary, study["recipe"]["budget"]["unit"])),
            "tradeoff_caption": as_html(told["tradeoff_caption"].strip("*")),
            "robust": _robust(told["robust"]),
            "across_caption": as_html(told["across_caption"].strip("*")),
            "caption": as_html(told["main_caption"].strip("*")),
            "data": as_json(page_data(study, summary, finished)),
            "script": _source("page.js"),
        }
    return environment.get_template("report.html.jinja").render(context)


def _cells(rows: list[list[str]]) -> list[list[Markup]]:
    return [[as_html(cell) for cell in row] for row in rows]


def _robust(section: dict[str, Any] | None) -> dict[str, Any] | None:
    """The tables of accuracy under attack, where there are any."""
    if not section or not section["targets"]:
        return None
    targets = [{"title": as_html(target["title"]), "rows": _cells(target["rows"])} for target in section["targets"]]
    return {"targets": targets, "caption": as_html(section["caption"].strip("*"))}


def as_html(text: str) -> Markup:
    """A sentence of the Markdown report: foreign names in it are entities already, so only our own bold and code are left."""
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)))


def as_json(value: Any) -> Markup:
    """JSON that may stand inside a script element. Raises ValueError on NaN, which JSON does not know."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(re.sub(f"[{''.join(_TELLING)}]", lambda sign: _TELLING[sign[0]], text))


def _source(name: str) -> Markup:
    return Markup(files("robuststream.reporting").joinpath(name).read_text(encoding="utf-8").rstrip())
