"""Where worker processes come from: forks of a fresh process that has imported what they need, and has done nothing else."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

PRELOADED = ["__main__", "robuststream.study.worker"]


def processes() -> BaseContext:
    """How workers are started. Never as forks of this process: its threads and its CUDA state would come along."""
    if not sys.platform.startswith("linux"):  # macOS forbids forks of a process that has loaded its frameworks
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm() -> None:
    """Begin to import what workers need, beside what this process does: every worker is then ready at once.

    To import torch and scikit-learn takes seconds, and once they are here a fork takes milliseconds.
    """
    if processes().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
