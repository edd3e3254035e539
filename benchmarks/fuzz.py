"""Bad input by the ten thousand: property-based (hypothesis), and guided by coverage where atheris is at hand.

    python benchmarks/fuzz.py --quick                 # 700 cases
    python benchmarks/fuzz.py --cases 20000 --write   # and fuzz.md in reports/reliability
    python benchmarks/fuzz.py --atheris 60            # seconds for each reader, in a Python that has atheris

No case may end in anything but acceptance or a refusal for people. The exit code says whether none did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from reliability.cases import CASES, Case, tried

READERS = ("study files", "run folders", "checkpoints", "data files", "label files")
"""What atheris is let loose on: it makes the bytes from which hypothesis makes a value."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="700 cases")
    parser.add_argument("--cases", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(CASES), help="one kind alone")
    parser.add_argument("--atheris", type=int, default=0, metavar="SECONDS", help="for each reader, in a process of its own")
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    folder = Path(__file__).parent.parent / "reports" / "reliability"
    parser.add_argument("--write", nargs="?", const=folder, type=Path, help="write the table there")
    options = parser.parse_args()
    if options.reader:
        _guided(options.reader, options.atheris)
        return
    names = [options.only] if options.only else list(CASES)
    each = -(-(700 if options.quick else options.cases) // len(names))
    lines, failed = [], False
    for name in names:
        line, bad = _many(name, each, options.seed)
        failed |= bad
        lines.append(line)
        print(line, flush=True)
    if options.atheris:
        for name in READERS:
            line, bad = _apart(name, options.atheris)
            failed |= bad
            lines.append(line)
            print(line, flush=True)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        head = "| input | tried | refused | accepted | neither | seconds |\n| :-- | --: | --: | --: | --: | --: |"
        (options.write / "fuzz.md").write_text("\n".join(["# Bad input", "", "`benchmarks/fuzz.py`", "", head, *lines, ""]))
    sys.exit(failed)


def _many(name: str, cases: int, number: int) -> tuple[str, bool]:
    counts: Counter[str] = Counter()
    began = time.monotonic()
    bad = False
    try:
        _test(CASES[name], counts, cases, number)()
    except BaseException:  # hypothesis has shrunk it; it names the value
        traceback.print_exc()
        bad = True
    seconds = time.monotonic() - began
    told = f"{counts['refused']} | {counts['accepted']} | {'at least 1' if bad else 0} | {seconds:.0f} |"
    return f"| {name} | {sum(counts.values())} | {told}", bad


def _test(case: Case, counts: Counter[str], cases: int, number: int) -> Any:
    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(case.values)
    def attempt(value: Any) -> None:
        counts["accepted" if tried(case, value) else "refused"] += 1

    return attempt


def _apart(name: str, seconds: int) -> tuple[str, bool]:
    """libFuzzer ends its process, so each reader has one."""
    try:
        import atheris  # noqa: F401 -- only asked whether it is there
    except ImportError:
        return f"| {name}, guided by coverage | - | - | - | atheris is not installed | 0 |", False
    command = [sys.executable, __file__, "--reader", name, "--atheris", str(seconds)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    told = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    tries = told[-1].split()[1] if told else "?"
    return f"| {name}, guided by coverage | {tries} | | | {'at least 1' if done.returncode else 0} | {seconds} |", bool(
        done.returncode
    )


def _guided(name: str, seconds: int) -> None:
    import atheris

    case = CASES[name]

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case.values)
    def attempt(value: Any) -> None:
        tried(case, value)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096"], attempt.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]
    atheris.Fuzz()


if __name__ == "__main__":
    main()
