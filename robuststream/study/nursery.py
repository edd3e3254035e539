"""Where worker processes come from: forks of a fresh process that has imported what they need, and has done nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

PRELOADED = ["__main__", "robuststream.study.worker"]


def processes() -> BaseContext:
    """How workers are started. Never as forks of this process: its threads and its CUDA state would come along."""
    if not sys.platform.startswith("linux"):  # macOS forbids forks of a process that has loaded its frameworks
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm(context: Any = None) -> None:
    """Begin to import what workers need, beside what this process does: every worker is then ready at once.

    To import torch and scikit-learn takes seconds, and once they are here a fork takes milliseconds. Done again, it does nothing.
    """
    context = context or processes()
    if isinstance(context, BaseContext) and context.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _deaf():
            forkserver.ensure_running()


@contextmanager
def _deaf() -> Iterator[None]:
    """A process that is started in here ignores Ctrl-C from its first moment on, and so do its forks.

    A terminal sends it to the whole group of processes; one that is still importing would die of it, with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():  # only there may it be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
