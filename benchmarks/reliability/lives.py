"""One life of a study: a process that can be killed, with its workers. A fork of this one: torch is there already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from robuststream.data.load import load_arrays
from robuststream.studies import load_study
from robuststream.study import execute
from robuststream.study.bench import Bench
from robuststream.study.plan import plan
from robuststream.training import checkpoint

_FORK = multiprocessing.get_context("fork")


class Forks:
    """In the place of the usual context: workers are forks that let go of all that they inherit but two pipes: for what they are
    told and tell, and for the end of the study."""

    Pipe = staticmethod(_FORK.Pipe)
    RawValue = staticmethod(_FORK.RawValue)

    @staticmethod
    def Process(target: Callable[..., None], args: Sequence[Any], daemon: bool) -> Any:
        return _FORK.Process(target=_unburdened, args=(target, *args), daemon=daemon)


def _unburdened(target: Callable[..., None], connection: Any, *args: Any) -> None:
    study = multiprocessing.parent_process()
    assert study is not None
    kept = (connection.fileno(), study.sentinel)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    target(connection, *args)


class Life:
    """`bench noisy-labels` with these overrides in a folder, as a process of its own."""

    def __init__(self, folder: Path, overrides: Sequence[str], jobs: int, every: float, anew: bool = False) -> None:
        self.folder, self.code = folder, None
        if anew:
            command = [sys.executable, "-m", "reliability.lives", str(folder), str(jobs), str(every), *overrides]
            self.pid = subprocess.Popen(command, cwd=Path(__file__).parent.parent).pid
            return
        _warm(tuple(overrides), folder)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                code = live(folder, overrides, jobs, every, Forks)
            finally:
                os._exit(code)

    def wait_for_work(self) -> None:
        """Until a run has begun to write, or the study has ended."""
        began = time.time_ns()
        until = time.monotonic() + 60
        while time.monotonic() < until and not self.ended():
            if any(_written(path) >= began for path in self.folder.glob("runs/*/*.json*")):
                return
            time.sleep(0.01)

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    @property
    def well(self) -> bool:
        return self.code == 0

    def workers(self) -> list[int]:
        """The processes that train: forks of the study, or of the process that the study has for this."""
        return [pid for child in children(self.pid) for pid in children(child)] or children(self.pid)

    def kill(self) -> None:
        """The study dies at once; its workers find out after their step, or are still at it when the next life begins."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if self.code is None:
            os.waitpid(self.pid, 0)
            self.code = -signal.SIGKILL

    def join(self) -> None:
        """To the end, which must be a good one."""
        while not self.ended():
            time.sleep(0.01)
        assert self.well, f"the study ended with exit code {self.code}"


@cache
def _warm(overrides: tuple[str, ...], folder: Path) -> None:
    """What every life would read and import for itself: lives that begin sooner are more of them. Nothing here uses threads."""
    study = load_study("noisy-labels", overrides)
    plan(study, folder)
    load_arrays(study.recipe.data)


def children(pid: int) -> list[int]:
    """Processes whose parent this is."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_text().split()]
    except OSError:
        return []


def end(pids: set[int]) -> None:
    """Kill these processes, whoever is left of them, and wait until none can write: a power cut spares nobody."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while time.monotonic() < until and any(_runs(pid) for pid in pids):
        time.sleep(0.01)
    pids.clear()


def _runs(pid: int) -> bool:
    """Whether it is there and no mere entry that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def live(folder: Path, overrides: Sequence[str], jobs: int, every: float, context: Any = None) -> int:
    """One `bench`, silent, with checkpoints every so many seconds; its exit code."""
    checkpoint.EVERY_SECONDS, checkpoint.SHARE = every, 1.0
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    bench = Bench(load_study("noisy-labels", overrides), folder, "benchmarks/kill.py", jobs=jobs, threads=1)
    bench._report = lambda: None  # nothing here is about the report, which takes longer than some lives
    if context is not None:
        execute.nursery.processes = lambda: context  # type: ignore[assignment]
    return bench.run()


def _written(path: Path) -> int:
    """When, in nanoseconds; 0 for a file that was renamed meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(live(Path(sys.argv[1]), sys.argv[4:], int(sys.argv[2]), float(sys.argv[3])))
