"""Data sets that torchvision keeps: on disk where they are, else downloaded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from robuststream.data.catalog import DataSet


class Unavailable(Exception):
    """Neither on disk nor to be downloaded; the message is the reason in one line."""


def read(entry: DataSet, root: Path) -> dict[str, np.ndarray]:
    """The four arrays of a catalogue entry, images NHW or NHWC uint8, labels from 0. Raises Unavailable."""
    from torchvision import datasets  # late: a second or more, and most runs find their arrays without it

    try:
        # torchvision prints its progress; a refusal of ours is one line.
        with contextlib.redirect_stdout(io.StringIO()), _alone(root):
            make = getattr(datasets, entry.torchvision)
            parts = {part: make(root, download=True, **_which(entry, part)) for part in ("train", "test")}
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, HTTPException) as error:
        raise Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    found: dict[str, np.ndarray] = {}
    for part, data in parts.items():
        found[f"{part}_images"], found[f"{part}_labels"] = _plain(entry, data)
    return found


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time downloads and unpacks, the others would read half a file. A read-only folder needs no lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # POSIX only

            root.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(open(root / ".robuststream.lock", "w")), fcntl.LOCK_EX)
        yield


def _which(entry: DataSet, part: str) -> dict[str, Any]:
    if entry.torchvision == "SVHN":
        return {"split": part}
    return {"train": part == "train"} | ({"split": entry.split} if entry.split else {})


def _plain(entry: DataSet, data: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(data.data)
    labels = np.asarray(data.labels if entry.torchvision == "SVHN" else data.targets).astype(np.int64)
    if entry.torchvision == "SVHN":
        images = images.transpose(0, 2, 3, 1)
    if entry.torchvision == "EMNIST":
        images = images.transpose(0, 2, 1)  # torchvision hands the letters over lying on their side
    if entry.split == "letters":
        labels = labels - 1  # torchvision counts them from 1: its class 0 is 'N/A'
    return images, labels
