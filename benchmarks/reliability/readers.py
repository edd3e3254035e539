"""The readers of files by name: whole files of ours to begin from, and what is done with bytes that stand in their place."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reliability import cases
from robuststream import records
from robuststream.errors import UserError
from robuststream.training import checkpoint


def read(name: str, content: bytes) -> bool:
    """Whether it was accepted. Raises whatever is no refusal for people."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            READERS[name](content, Path(folder))
        except UserError as error:
            if not str(error).strip() or "\n" in str(error):
                raise AssertionError(f"a refusal of more or less than one line: {error!r}") from error
            return False
    return True


def _records(content: bytes, folder: Path) -> None:
    """Three files of a run folder, apart from each other by an empty line, and the report's numbers of them."""
    settings, rows, result = (*content.split(b"\n\n"), b"", b"")[:3]
    for name, part in zip(("settings.json", "records.jsonl", "result.json"), (settings, rows + b"\n", result), strict=True):
        (folder / name).write_bytes(part)
    if (run := records.read_run(folder)) is not None:
        _ = run.name, run.arm, run.budget


def _archive(content: bytes, folder: Path) -> None:
    cases._template(folder)
    (folder / records.ARCHIVE).write_bytes(gzip.compress(content, 1))
    for run in list((folder / "runs").iterdir())[:3]:
        (run / "settings.json").unlink()  # so that the archive must have it
    _, runs = records.read_study(folder)
    records.write_archive(folder, runs)


def _labels(content: bytes, folder: Path) -> None:
    """The first byte says which kind of file."""
    cases._label_file(((".npy", ".npz", ".txt")[content[0] % 3 if content else 0], content[1:]), folder)


def _checkpoint(content: bytes, folder: Path) -> None:
    """As it is, and under a seal that fits, as only whoever can write the folder could forge it."""
    for whole in (content, checkpoint._sealed(content)):
        (folder / "checkpoint.pt").write_bytes(whole)
        state = checkpoint.Checkpoints(folder).load()
        assert state is None or isinstance(state, dict)


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "study files": cases._study_file,
    "records": _records,
    "archives": _archive,
    "checkpoints": _checkpoint,
    "data files": cases._data_file,
    "label files": _labels,
}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _two() -> list[records.RunRecords]:
    return cases._committed()[1][:2]


def _line(run: records.RunRecords) -> bytes:
    return _json({"settings": run.settings, "evaluations": run.evaluations[:3], "result": run.result})


def _folder(run: records.RunRecords) -> bytes:
    rows = b"\n".join(_json(row) for row in run.evaluations[:3])
    return b"\n\n".join((_json(run.settings), rows, _json(run.result)))


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "study files": lambda: [text.encode() for text in cases._SHIPPED],
    "records": lambda: [_folder(run) for run in _two()],
    "archives": lambda: [b"\n".join(map(_line, _two()))],
    "checkpoints": lambda: [cases._saved(), cases._saved().partition(b"\n")[2]],
    "data files": lambda: [cases._npz(cases._PARTS_OF_DATA)],
    "label files": lambda: [
        b"\0" + cases._npy(cases._LABELS),
        b"\1" + cases._npz({"noisy": cases._LABELS}),
        b"\2" + " ".join(map(str, cases._LABELS)).encode(),
        b"\0" + cases._npy(np.zeros((3, 2))),
    ],
}
