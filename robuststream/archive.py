"""The archive of a study: one line for each finished run, which is read only where it is asked for. No torch here."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from robuststream.errors import UserError
from robuststream.files import write_bytes
from robuststream.names import run_name

_HEAD = b'{"settings":'  # of a line


def read_lines(path: Path) -> dict[str, bytes]:
    """Run -> its line, of which only the settings are looked at yet."""
    if not path.exists():
        return {}
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        return {run_name(_settings_of(line)): line for line in lines}
    except (ValueError, OSError, EOFError, TypeError, KeyError, RecursionError, zlib.error) as error:
        raise damaged(path, error) from None


def _settings_of(line: bytes) -> dict[str, Any]:
    if line.startswith(_HEAD):
        return json.JSONDecoder().raw_decode(line.decode(), len(_HEAD))[0]
    return from_json(line)["settings"]


def write_lines(path: Path, lines: Mapping[str, bytes]) -> None:
    """By name, so that the same lines make the same bytes."""
    write_bytes(path, gzip.compress(b"".join(lines[name] + b"\n" for name in sorted(lines)), mtime=0))


def damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}); restore it, or delete it to go by the run folders alone")
