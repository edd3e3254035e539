"""Files and folders that survive a kill: written beside, synced, renamed; held by one process at a time. No torch here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from robuststream.errors import UserError


def make_folder(folder: Path) -> None:
    """Raises UserError where it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"results cannot be written to {folder} ({error.strerror}); choose another folder with --out") from None


@contextmanager
def alone(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a study's or a run's folder for one process, waiting for it up to `patience` seconds (not seen on Windows).

    Raises UserError where another is at work in it. A process that dies lets go of the folder, however it dies.
    """
    try:
        # A link by that name in somebody else's folder is not followed to the file that it leads to.
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise UserError(f"results cannot be written to {folder} ({error.strerror}); choose another folder with --out") from None
    try:
        until = time.monotonic() + patience
        while not _lock(descriptor):
            if time.monotonic() >= until:
                raise UserError(f"another bench is at work in {folder}; wait for it, or choose another folder with --out")
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now; True also where the system or the file system knows no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write beside, sync, rename, sync the folder: a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for bytes. Where it fails (a full disk), the old file stands and nothing is left beside it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the system has written a file, or a folder's list of names, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # nothing there yet; Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left half written beside the files of a folder."""
    for path in folder.glob(".*.*"):
        if path.suffix[1:].isdigit():
            path.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether a JSON file of ours is there to its end: the cheap question, for thousands of files.

    Ours are indented, so that the last brace alone stands at the start of a line.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)  # `open` takes three times as long
    except OSError:
        return False
    try:
        os.lseek(descriptor, -min(16, os.fstat(descriptor).st_size), os.SEEK_END)
        return os.read(descriptor, 16).rstrip().endswith(b"\n}")
    except OSError:
        return False
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """A mapping that has these keys. Raises UserError where the file is damaged or missing; ours are never half written."""
    found = read_json_if_any(path, keys)
    if found is None:
        raise UserError(f"{path} is missing; restore it, or delete what it belongs to and run it again")
    return found


def read_json_if_any(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    """As `read_json`, but None where there is no such file: one call of the system, not two, for thousands of files."""
    try:
        value = from_json(path.read_bytes())
        missing = [key for key in keys if key not in value] if isinstance(value, dict) else list(keys)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it, or delete what it belongs to and run it again") from None
    if missing:
        raise UserError(f"{path} has no '{missing[0]}'; restore it, or delete what it belongs to and run it again")
    return value
