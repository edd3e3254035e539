"""Markdown and JSON of a benchmark. Every figure in them comes from the run that wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.targets import Target
from robuststream import records

REPORTS = Path(__file__).parents[2] / "reports" / "benchmarks"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def targets_section(targets: Iterable[Target]) -> str:
    return "## Targets\n\n" + "\n".join(f"- {target.line()}" for target in targets)


def machine_section(facts: dict[str, Any]) -> str:
    """One line per fact."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        lines.append(f"- {name.replace('_', ' ')}: {value}")
    return "## Machine\n\n" + "\n".join(lines)


def write(name: str, sections: Sequence[str], data: dict[str, Any], folder: Path | None = None) -> Path:
    """Write NAME.md and NAME.json; the former's path."""
    folder = folder or REPORTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text("\n\n".join(sections) + "\n")
    records.write_json(folder / f"{name}.json", data)
    return path
