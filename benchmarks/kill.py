"""Kills a study, or one of its workers, again and again at random moments, tears files as a power cut would, and goes on.

    python benchmarks/kill.py --quick                 # a small study, 30 kills
    python benchmarks/kill.py --kills 200 --write     # the shipped study; writes kill.md and kill.json in reports/reliability
    python benchmarks/kill.py --anew --kills 20       # every life a fresh interpreter, as a user starts it

The study that was killed must end as one that was not, to the bit, and no finished run may be run again: the exit code says
whether it does. Checkpoints are taken more often than by default (`--every`), or no run of the shipped study would see one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from reliability.lives import Life, end
from reliability.tearing import tear

from robuststream.records import is_whole, read_sound_lines, without_time
from robuststream.training.checkpoint import Checkpoints

QUICK = ("seeds=1", "recipe.train_size=200", "recipe.evaluations=6", "budget=4", "scenarios=clean,symmetric-40")


@dataclass(frozen=True)
class Kill:
    """One line of the table."""

    number: int
    what: str  # study, or worker
    after: float  # seconds of this life
    finished: int  # runs that had a result
    under_way: str  # the runs that were being trained, with the steps on record
    torn: str  # what a power cut left of which file; '' for a plain kill


def main() -> None:
    options = _options()
    study = list(QUICK) if options.quick else []
    kills = options.kills or (30 if options.quick else 200)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        undisturbed, killed = Path(place, "undisturbed"), Path(place, "killed")
        Life(undisturbed, study, options.jobs, options.every, options.anew).join()
        whole = time.monotonic() - began
        print(f"undisturbed: {len(results(undisturbed))} runs in {whole:.1f} s", flush=True)
        table, repeated = disturb(killed, study, kills, rng, options)
        faults = differences(undisturbed, killed) + repeated + leftovers(killed)
    verdict = f"{len(table)} kills, {sum(bool(kill.torn) for kill in table)} of them with torn files: "
    verdict += "; ".join(faults) if faults else "every result and record is bit-equal to the undisturbed study's"
    print(verdict)
    if options.write:
        write(options.write, table, verdict, bool(study))
    sys.exit(bool(faults))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small study")
    parser.add_argument("--kills", type=int, default=0, help="at least so many (default: 200; 30 with --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is torn")
    parser.add_argument("--jobs", type=int, default=2, help="workers of the study")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between checkpoints")
    parser.add_argument("--longest", type=float, default=3.0, help="seconds that a life lasts at most, before it is killed")
    parser.add_argument("--anew", action="store_true", help="fresh interpreters instead of forks of this one")
    folder = Path(__file__).parent.parent / "reports" / "reliability"
    parser.add_argument("--write", nargs="?", const=folder, type=Path, help="write the table there")
    return parser.parse_args()


def disturb(
    folder: Path, study: list[str], kills: int, rng: random.Random, options: argparse.Namespace
) -> tuple[list[Kill], list[str]]:
    """Lives that end in a kill, and one at last that may finish. A study that finishes too early is begun again elsewhere."""
    table: list[Kill] = []
    faults: list[str] = []
    done: dict[str, int] = {}
    trained: set[int] = set()  # workers of all lives: those of a killed study live on for a step, or wait for a run's lock
    while len(table) < kills:
        life = Life(folder, study, options.jobs, options.every, options.anew)
        before = time.monotonic()
        life.wait_for_work()
        time.sleep(rng.uniform(0, options.longest))
        if life.ended():
            faults += repeats(done, folder)
            if not life.well:
                faults.append(f"a life that nobody disturbed ended with exit code {life.code}")
            _forget(folder, rng)
            done = stamps(folder)
            continue
        what = rng.choice(("study", "worker"))
        after, under_way = time.monotonic() - before, _under_way(folder)
        if what == "worker" and (workers := life.workers()):
            os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.uniform(0, 0.3))
        else:
            what = "study"
        trained.update(life.workers())
        life.kill()
        power_cut = len(table) % 2 == 1
        if power_cut:
            end(trained)
        faults += repeats(done, folder)  # before any of these results is torn, which is to be computed again
        torn = tear(folder, rng) if power_cut else ""
        done = stamps(folder)
        table.append(Kill(len(table) + 1, what, after, len(done), under_way, torn))
        print(
            f"{len(table):4d} {what:6s} after {after:4.1f} s, {len(done)} finished; {under_way or '-'}; {torn or '-'}", flush=True
        )
    Life(folder, study, options.jobs, options.every, options.anew).join()
    return table, faults + repeats(done, folder)


def _forget(folder: Path, rng: random.Random) -> None:
    """So that there is something left to kill: half of the results are taken away, as if those runs had never been."""
    for run in sorted((folder / "runs").iterdir()):
        if rng.random() < 0.5:
            for path in run.iterdir():
                if path.name != ".lock":  # a worker of an earlier life may still wait for it
                    path.unlink()


def _under_way(folder: Path) -> str:
    told = []
    for run in sorted((folder / "runs").glob("*")):
        if (run / "records.jsonl").exists() and not (run / "result.json").exists():
            lines, _ = read_sound_lines(run / "records.jsonl")
            saved = Checkpoints(run).path.exists() + Checkpoints(run).older.exists()
            told.append(f"{run.name.rpartition('--')[0]} at step {lines[-1]['step'] if lines else 0}, {saved} checkpoints")
    return "; ".join(told)


def results(folder: Path) -> dict[str, object]:
    """Run -> result and records, without what a clock wrote."""
    found: dict[str, object] = {}
    for path in sorted(folder.glob("runs/*/result.json")):
        rows, whole = read_sound_lines(path.parent / "records.jsonl")
        assert whole, path
        found[path.parent.name] = [without_time(row) for row in (json.loads(path.read_text()), *rows)]
    return found


def differences(undisturbed: Path, killed: Path) -> list[str]:
    first, second = results(undisturbed), results(killed)
    told = [f"{name} is missing" for name in first if name not in second]
    return told + [f"{name} differs" for name in second if second[name] != first.get(name)]


def stamps(folder: Path) -> dict[str, int]:
    """When each whole result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json") if is_whole(path)}


def repeats(done: dict[str, int], folder: Path) -> list[str]:
    """Finished runs that were run again although their result was whole."""
    now = stamps(folder)
    return [f"{name} was run again" for name, stamp in done.items() if now.get(name) != stamp]


def leftovers(folder: Path) -> list[str]:
    """What a killed writer left beside its file must be gone in the end, and so must the checkpoints."""
    strange = [path for path in folder.glob("runs/*/.*.*") if path.suffix[1:].isdigit()]
    return [f"{path.parent.name}/{path.name} is left over" for path in strange]


def write(folder: Path, table: list[Kill], verdict: str, small: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"verdict": verdict, "study": "noisy-labels" + ", small" * small, "kills": [asdict(kill) for kill in table]}
    (folder / "kill.json").write_text(json.dumps(record, indent=1) + "\n")
    counts = Counter(kill.what for kill in table)
    lines = ["# Kills", "", f"`benchmarks/kill.py` on the study {record['study']}. {verdict}.", ""]
    lines += [f"{counts['study']} times the study was killed, {counts['worker']} times one worker first.", ""]
    lines += ["| | killed | after, s | runs finished | under way | torn |", "| --: | :-- | --: | --: | :-- | :-- |"]
    lines += [f"| {k.number} | {k.what} | {k.after:.2f} | {k.finished} | {k.under_way} | {k.torn} |" for k in table]
    (folder / "kill.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
