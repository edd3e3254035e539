"""Readers of files under coverage-guided fuzzing: bytes of any kind are refused in one line, or read; nothing else.

    python -m venv fuzzing && . fuzzing/bin/activate && pip install . atheris hypothesis
    python benchmarks/coverage_fuzz.py --seconds 60            # for each reader
    python benchmarks/coverage_fuzz.py --seconds 60 --write    # and coverage_fuzz.md in reports/reliability

libFuzzer changes whole files of ours and keeps what reaches new lines of robuststream; what libraries do inside is not looked at.
Each reader has a process of its own, since a finding ends it. The exit code says whether there was none.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

READERS = ("study files", "records", "archives", "checkpoints", "data files", "label files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=READERS)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    folder = Path(__file__).parent.parent / "reports" / "reliability"
    parser.add_argument("--write", nargs="?", const=folder, type=Path, help="write the table there")
    options = parser.parse_args()
    if options.reader:
        _fuzz(options.reader, options.seconds, options.seed)
    lines, failed = [], False
    for name in [options.only] if options.only else READERS:
        line, bad = _apart(name, options.seconds, options.seed)
        failed |= bad
        lines.append(line)
        print(line, flush=True)
    if options.write:
        command = f"`benchmarks/coverage_fuzz.py --seconds {options.seconds} --seed {options.seed}`"
        head = "| reader | tried | edges reached | at the start | findings |\n| :-- | --: | --: | --: | --: |"
        text = "\n".join(["# Readers under coverage-guided fuzzing", "", command, "", head, *lines, ""])
        options.write.mkdir(parents=True, exist_ok=True)
        (options.write / "coverage_fuzz.md").write_text(text)
    sys.exit(failed)


def _apart(name: str, seconds: int, seed: int) -> tuple[str, bool]:
    command = [sys.executable, str(Path(__file__).resolve()), "--reader", name, "--seconds", str(seconds), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=folder)
    reached = re.findall(r"cov: (\d+)", done.stderr)
    tries = re.findall(r"^(?:Done |#)(\d+)", done.stderr, re.MULTILINE)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
    finding = "at least 1" if done.returncode else "0"
    told = [name, tries[-1] if tries else "0", reached[-1] if reached else "-", reached[0] if reached else "-", finding]
    return f"| {' | '.join(told)} |", bool(done.returncode)


def _fuzz(name: str, seconds: int, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["robuststream"]):
        from reliability import readers

    corpus = Path("corpus")
    corpus.mkdir()
    for number, content in enumerate(readers.SEEDS[name]()):
        (corpus / str(number)).write_bytes(content)
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=65536", "-timeout=60", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda content: readers.read(name, content))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
