"""A run that is planned, and what a study's file says of all of them. No torch here: who starts runs need not import it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robuststream import records
from robuststream.config import RunSettings, Study


@dataclass(frozen=True)
class PlannedRun:
    """One run and where it lives."""

    settings: RunSettings
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        """With a result that is there to its end: one that a fault has cut short is computed again."""
        return records.is_whole(self.folder / "result.json")


def study_settings(study: Study, runs: list[PlannedRun], command: str) -> dict[str, Any]:
    """What `study.json` says: the study as asked for, and the names of the runs that it consists of."""
    asked = {key: value for key, value in study.model_dump().items() if value or key not in ("budgets", "placebos")}
    return {
        "rules": records.RULES,
        **asked,
        "command": command,
        "runs": [run.name for run in runs],
    }
