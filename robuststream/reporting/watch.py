"""`report --watch`: the report of a study that is still running, rebuilt when runs finish."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from robuststream.records import read_study
from robuststream.reporting.report import write_report

EVERY = 5.0
"""Seconds between two looks at the run folders."""


def watch(folder: Path, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep, pdf: bool = False) -> None:
    """Report now, then whenever more runs have finished, until all have. Ctrl-C ends it as well; the report stays.

    Raises UserError where the folder is no study's, or was measured under other rules.
    """
    seen = -1
    try:
        while True:
            study, runs = read_study(folder)
            finished, planned = sum(run.result is not None for run in runs), len(study["runs"])
            if finished != seen:
                say(f"{write_report(folder, pdf)}: {finished} of {planned} runs")
                seen = finished
            if finished >= planned:
                return
            wait(EVERY)
    except KeyboardInterrupt:
        say("stopped watching; the report stays as it is")
