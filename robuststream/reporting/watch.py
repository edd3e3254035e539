"""`report --watch`: the report of a study that is still running, rebuilt when runs finish."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from robuststream.records import read_failures, read_study
from robuststream.reporting.report import write_report

EVERY = 5.0
"""Seconds between two looks at the run folders."""


def watch(folder: Path, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep, pdf: bool = False) -> None:
    """Report now, then whenever more runs have finished or failed, until all have finished. Ctrl-C ends it as well; the report
    stays.

    Raises UserError where the folder is no study's, or was measured under other rules.
    """
    seen: tuple[int, dict[str, str]] | None = None
    try:
        while True:
            study, runs = read_study(folder)
            finished, planned = sum(run.result is not None for run in runs), len(study["runs"])
            failures = read_failures(folder, study["runs"])
            if (finished, failures) != seen:
                failed = f", {len(failures)} failed" if failures else ""
                say(f"{write_report(folder, pdf)}: {finished} of {planned} runs{failed}")
                seen = finished, failures
            if finished >= planned:
                return
            wait(EVERY)
    except KeyboardInterrupt:
        say("stopped watching; the report stays as it is")
