"""Where runs run: worker processes of this machine, kept busy until every run is finished, failed or stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Literal

from robuststream.errors import printable
from robuststream.study import nursery
from robuststream.study.planned import PlannedRun

if TYPE_CHECKING:
    from robuststream.study.worker import Flag


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
    place: int  # among those side by side; who replaces it has the same
    run: PlannedRun | None = None
    since: float = 0.0  # when the run was sent, on the clock that never jumps


@dataclass
class Executor:
    """Trains runs in `jobs` processes of `threads` threads each. Iterate over `execute`; call `stop` to end early.

    A run that takes longer than `limit` seconds in one go is ended together with its process, and has failed.
    """

    jobs: int
    threads: int = 1
    limit: float | None = None
    _context: Any = field(default_factory=lambda: nursery.processes(), repr=False)

    def __post_init__(self) -> None:
        self._stop: Flag = self._context.RawValue("b", 0)
        self._workers: list[_Worker] = []
        self._waiting: list[PlannedRun] = []

    def execute(self, runs: list[PlannedRun]) -> Iterator[Happening]:
        """Every run in order; happenings as they come. A worker that dies fails its run, and a new one takes its place."""
        waiting = self._waiting = list(reversed(runs))
        self._workers = [self._spawn(place) for place in range(min(self.jobs, len(runs)))]
        try:
            while True:
                for worker in self._workers:
                    if worker.run is None and waiting and not self._stop.value:
                        worker.run, worker.since = waiting.pop(), time.monotonic()
                        with suppress(BrokenPipeError, ConnectionResetError):  # one that died idle is found out below
                            worker.connection.send((worker.run.settings.model_dump(), str(worker.run.folder)))
                        yield Happening("started", worker.run)
                busy = [worker for worker in self._workers if worker.run is not None]
                if not busy:
                    return
                ready = wait([worker.connection for worker in busy], timeout=min(1.0, self.limit or 1.0))
                for worker in busy:
                    if worker.connection in ready:
                        yield self._hear(worker)
                    elif self.limit is not None and time.monotonic() - worker.since > self.limit:
                        yield self._end(worker)
        finally:
            self._close()

    def stop(self) -> None:
        """Every worker finishes its step, saves and stops; nothing new is started."""
        self._stop.value = 1

    def _spawn(self, place: int) -> _Worker:
        nursery.warm(self._context)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._stop, self.threads, place), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, place)

    def _hear(self, worker: _Worker) -> Happening:
        run = worker.run
        assert run is not None
        try:
            what, detail = worker.connection.recv()
        except (EOFError, OSError):  # at the end of a message, or within one
            worker.process.join()
            code = worker.process.exitcode
            self._replace(worker)
            return Happening("failed", run, _death(code))
        if what != "evaluated":
            worker.run = None
        if what == "failed":
            self._replace(worker)
        return Happening(what, run, printable(detail) if what == "failed" else detail)

    def _end(self, worker: _Worker) -> Happening:
        """Of a run that hangs, or is too slow: nothing is asked of its process, which may not listen any more."""
        run = worker.run
        assert run is not None
        worker.process.kill()
        worker.process.join()
        self._replace(worker)
        told = (
            f"took longer than run_limit={self.limit:g} seconds and was ended; it goes on from its last checkpoint, if it has one"
        )
        return Happening("failed", run, told)

    def _replace(self, worker: _Worker) -> None:
        """A new process in the place of one that has ended, where there is work left for it."""
        worker.connection.close()
        if self._waiting:
            self._workers[self._workers.index(worker)] = self._spawn(worker.place)
        else:
            self._workers.remove(worker)

    def _close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            if worker.run is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=10)
            if worker.process.is_alive():
                worker.process.kill()


def _work(connection: Connection, stop: Flag, threads: int, place: int) -> None:
    from robuststream.study.worker import work  # in its own process, where torch is imported already

    work(connection, stop, threads, place)


def _death(code: int | None) -> str:
    """Of a worker, by its exit code: a negative one is the signal that ended it."""
    if code == -signal.SIGKILL:
        return "its process died (killed: by a person, or by the system for lack of memory; then run fewer with --jobs)"
    if code is not None and code < 0:
        return f"its process died ({signal.strsignal(-code) or f'signal {-code}'})"
    return f"its process died (exit code {code})"
