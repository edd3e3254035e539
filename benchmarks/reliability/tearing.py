"""What a power cut may leave behind: files that end too early, that end in rubbish, or that were never renamed."""

from __future__ import annotations

import os
import random
from pathlib import Path


def tear(folder: Path, rng: random.Random) -> str:
    """Damage one file of a run, as long as what is older stays whole; what was done, '' where there was nothing to damage."""
    runs = [run for run in sorted((folder / "runs").glob("*")) if (run / "records.jsonl").exists()]
    unfinished = [run for run in runs if not (run / "result.json").exists()]
    if not runs:
        return ""
    run = rng.choice(unfinished or runs)
    if run in unfinished:
        ways = [_half_written, _torn_line, _lost_lines]
        ways += [_torn_checkpoint] * 3 * (run / "checkpoint.pt").exists()
    else:
        ways = [_torn_result]  # it was written last: nothing was under way beside it
    return f"{rng.choice(ways)(run, rng)} of {run.name.rpartition('--')[0]}"


def _cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(max(1, path.stat().st_size)))


def _torn_checkpoint(run: Path, rng: random.Random) -> str:
    path = run / "checkpoint.pt"
    if rng.random() < 0.5:
        _cut(path, rng)
        return "newest checkpoint cut short"
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    content[at : at + 512] = bytes(len(content[at : at + 512]))
    path.write_bytes(content)
    return "newest checkpoint with a block of zeros"


def _torn_line(run: Path, rng: random.Random) -> str:
    with open(run / "records.jsonl", "ab") as file:
        file.write(rng.choice((b'{"step": 12', bytes(64), b"\xff\xfe\n", b'{"step": "x"}\n')))
    return "rubbish at the end of the records"


def _lost_lines(run: Path, rng: random.Random) -> str:
    _cut(run / "records.jsonl", rng)
    return "the end of the records lost"


def _half_written(run: Path, rng: random.Random) -> str:
    name = rng.choice(("checkpoint.pt", "result.json", "settings.json"))
    (run / f".{name}.{rng.randrange(10**6)}").write_bytes(rng.randbytes(1000))
    return f"a half-written {name} beside"


def _torn_result(run: Path, rng: random.Random) -> str:
    _cut(run / "result.json", rng)
    return "result cut short"
