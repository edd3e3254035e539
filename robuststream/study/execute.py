"""Where runs run: worker processes of this machine, kept busy until every run is finished, failed or stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any, Literal

from robuststream.study.plan import PlannedRun
from robuststream.study.worker import work


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Happening:
    """What a worker tells of a run: started, evaluated (a record), finished (a result), failed (a reason) or stopped."""

    what: Literal["started", "evaluated", "finished", "failed", "stopped"]
    run: PlannedRun
    detail: Any = None


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    run: PlannedRun | None = None


@dataclass
class Executor:
    """Trains runs in `jobs` processes of `threads` threads each. Iterate over `execute`; call `stop` to end early.

    Processes are spawned, not forked: a fork would inherit the parent's threads and CUDA state.
    """

    jobs: int
    threads: int = 1
    _context: Any = field(default_factory=lambda: multiprocessing.get_context("spawn"), repr=False)

    def __post_init__(self) -> None:
        self._stop: Event = self._context.Event()
        self._workers: list[_Worker] = []
        self._waiting: list[PlannedRun] = []

    def execute(self, runs: list[PlannedRun]) -> Iterator[Happening]:
        """Every run in order; happenings as they come. A worker that dies fails its run, and a new one takes its place."""
        waiting = self._waiting = list(reversed(runs))
        self._workers = [self._spawn() for _ in range(min(self.jobs, len(runs)))]
        try:
            while True:
                for worker in self._workers:
                    if worker.run is None and waiting and not self._stop.is_set():
                        worker.run = waiting.pop()
                        with suppress(BrokenPipeError):  # one that died idle is found out below
                            worker.connection.send((worker.run.settings.model_dump(), str(worker.run.folder)))
                        yield Happening("started", worker.run)
                busy = [worker for worker in self._workers if worker.run is not None]
                if not busy:
                    return
                ready = wait([worker.connection for worker in busy], timeout=1.0)
                for worker in busy:
                    if worker.connection in ready:
                        yield self._hear(worker)
        finally:
            self._close()

    def stop(self) -> None:
        """Every worker finishes its step, saves and stops; nothing new is started."""
        self._stop.set()

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, self._stop, self.threads, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hear(self, worker: _Worker) -> Happening:
        run = worker.run
        assert run is not None
        try:
            what, detail = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            code = worker.process.exitcode
            self._replace(worker)
            return Happening("failed", run, f"its process died (exit code {code}; -9 is often a lack of memory)")
        if what != "evaluated":
            worker.run = None
        if what == "failed":
            self._replace(worker)
        return Happening(what, run, detail)

    def _replace(self, worker: _Worker) -> None:
        """A new process in the place of one that has ended, where there is work left for it."""
        worker.connection.close()
        if self._waiting:
            self._workers[self._workers.index(worker)] = self._spawn()
        else:
            self._workers.remove(worker)

    def _close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            if worker.run is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=10)
