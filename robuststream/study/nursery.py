"""Where worker processes come from: forks of a fresh process that has imported what they need, and has done nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

PRELOADED = ["__main__", "robuststream.study.worker"]

MOST = 4
"""Processes that draw a report: it has some ten figures."""

T = TypeVar("T")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def ask(function: Callable[..., T], *given: object) -> T:
    """`function(*given)`, which needs torch, in a process that has it: this one need not import it to know the answer.

    What it raises is raised here. It is called here where torch is at hand, where there is no nursery, and where that
    process did not live to answer.
    """
    context = processes()
    if "torch" not in sys.modules and context.get_start_method() == "forkserver":
        warm(context)
        with suppress(BrokenProcessPool), ProcessPoolExecutor(1, context) as helper:
            return helper.submit(function, *given).result()
    return function(*given)


def side_by_side(function: Callable[[T], object], items: Sequence[T]) -> None:
    """Call a function that can be pickled on every item, in a few processes of their own, which end with it.

    What one of them could not do is done here once more: so its error is raised here.
    """
    context, count = processes(), min(MOST, len(items), cores())
    shares = [items[first::count] for first in range(count)]
    helpers = [context.Process(target=_help, args=(function, share), daemon=True) for share in shares]  # pyright: ignore[reportAttributeAccessIssue]
    for helper in helpers:
        helper.start()
    for helper, share in zip(helpers, shares, strict=True):
        helper.join()
        if helper.exitcode:
            for item in share:
                function(item)


def _help(function: Callable[[T], object], items: Sequence[T]) -> None:
    try:
        for item in items:
            function(item)
    except Exception:  # of whatever kind: whoever started this process will see it
        sys.exit(1)


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
