"""A worker process: trains the runs that it is sent, one after the other, and tells its parent what happens."""

from __future__ import annotations

import errno
import multiprocessing
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

from robuststream import records
from robuststream.config import RunSettings
from robuststream.errors import UserError
from robuststream.study.process import settle, take_gpu
from robuststream.training.loop import Stopped, Watch, train

PATIENCE = 60.0
"""Seconds that a worker waits for one of a killed study to finish its step, save and let go of the run's folder."""


_GPU_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What CUDA and its libraries say where torch's own allocator was not asked: most often others have filled the GPU already."""


class Flag(Protocol):
    """A byte of shared memory. No lock belongs to it, so a worker that is killed while it looks cannot take one along."""

    value: int


def work(connection: Connection, stop: Flag, threads: int, place: int) -> None:
    """Until the parent closes the connection: (settings, folder) is answered with evaluated..., then finished, failed or stopped.

    `place` is this process's among those side by side.
    Ctrl-C reaches the whole process group; here it is ignored, since the parent decides and says so through `stop`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    settle(threads)
    orphaned = _orphaned()
    watch = Watch(
        evaluated=lambda record: connection.send(("evaluated", record)),
        stop=lambda: bool(stop.value) or orphaned.is_set(),
    )
    try:
        while True:
            settings, folder = connection.recv()
            answer = _train(RunSettings.model_validate(settings), Path(folder), watch, place)
            connection.send(answer)
            if answer[0] == "failed":
                return  # what a fault has left behind in this process must not reach the next run
    except (EOFError, ConnectionError):
        return  # the parent is gone, or has no more work


def _orphaned() -> threading.Event:
    """Set once the study's process has ended: it is not our parent, which is who forked us, so no parent's number tells."""
    orphaned, study = threading.Event(), multiprocessing.parent_process()
    assert study is not None

    def wait() -> None:
        study.join()
        orphaned.set()

    threading.Thread(target=wait, name="robuststream-orphaned", daemon=True).start()
    return orphaned


def _train(run: RunSettings, folder: Path, watch: Watch, place: int = 0) -> tuple[str, Any]:
    """What to tell the parent: (finished, result), (stopped, None) or (failed, reason)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with records.alone(folder, PATIENCE):
            if records.is_whole(folder / "result.json"):  # a worker of a killed study was quicker
                return "finished", records.read_json(folder / "result.json", records.RESULT)
            _tidy(folder)
            records.write_json(folder / "settings.json", run.model_dump())
            take_gpu(run.device, place)
            return "finished", train(run, folder, watch)
    except Stopped:
        return "stopped", None
    except UserError as error:
        return "failed", str(error)
    except ConnectionError:
        raise
    except Exception as error:
        return "failed", _reason(error, run, folder)


def _tidy(folder: Path) -> None:
    """What earlier attempts have left behind that this one will not go on from."""
    records.sweep(folder)
    for name in ("result.json", "error.txt", "failed.txt"):
        (folder / name).unlink(missing_ok=True)


def _reason(error: Exception, run: RunSettings, folder: Path) -> str:
    """In one line, with what to do about it where we know; else with the place of the traceback."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no room left on the disk of {folder} ({error.strerror}); make room, and it goes on from its last checkpoint"
    smaller = "lower it, or run fewer side by side with --jobs"
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _GPU_FULL):
        return f"out of GPU memory with recipe.batch_size={run.recipe.batch_size}; {smaller} ({text.partition('. ')[0]})"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return f"out of memory with recipe.batch_size={run.recipe.batch_size}; {smaller} ({text.partition('. ')[0]})"
    try:
        (folder / "error.txt").write_text(traceback.format_exc())
    except OSError:  # the folder itself may be what is wrong
        return text
    return f"{text} (traceback in {folder / 'error.txt'})"
