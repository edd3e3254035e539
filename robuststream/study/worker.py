"""A worker process: trains the runs that it is sent, one after the other, and tells its parent what happens."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch

from robuststream import records
from robuststream.config import RunSettings
from robuststream.errors import UserError
from robuststream.study.allocator import keep_memory
from robuststream.training.loop import Stopped, Watch, train


def work(connection: Connection, stop: Event, threads: int, parent: int) -> None:
    """Until the parent closes the connection: (settings, folder) is answered with evaluated..., then finished, failed or stopped.

    Ctrl-C reaches the whole process group; here it is ignored, since the parent decides and says so through `stop`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(threads)
    keep_memory()
    watch = Watch(
        evaluated=lambda record: connection.send(("evaluated", record)),
        stop=lambda: stop.is_set() or os.getppid() != parent,
    )
    try:
        while True:
            settings, folder = connection.recv()
            answer = _train(RunSettings.model_validate(settings), Path(folder), watch)
            connection.send(answer)
            if answer[0] == "failed":
                return  # what a fault has left behind in this process must not reach the next run
    except (EOFError, BrokenPipeError):
        return  # the parent is gone, or has no more work


def _train(run: RunSettings, folder: Path, watch: Watch) -> tuple[str, Any]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records.write_json(folder / "settings.json", run.model_dump())
        return "finished", train(run, folder, watch)
    except Stopped:
        return "stopped", None
    except UserError as error:
        return "failed", str(error)
    except BrokenPipeError:
        raise
    except Exception as error:
        with suppress(OSError):  # the folder itself may be what is wrong
            (folder / "error.txt").write_text(traceback.format_exc())
        return "failed", " ".join(f"{type(error).__name__}: {error} (traceback in {folder / 'error.txt'})".split())
