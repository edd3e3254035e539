"""Bad input by the ten thousand, property-based (hypothesis); coverage_fuzz.py is its sibling that is guided by coverage.

    python benchmarks/fuzz.py --quick                 # 700 cases
    python benchmarks/fuzz.py --cases 20000 --write   # and fuzz.md in reports/reliability

No case may end in anything but acceptance or a refusal for people. The exit code says whether none did.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from reliability.cases import CASES, Case, tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="700 cases")
    parser.add_argument("--cases", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(CASES), help="one kind alone")
    folder = Path(__file__).parent.parent / "reports" / "reliability"
    parser.add_argument("--write", nargs="?", const=folder, type=Path, help="write the table there")
    options = parser.parse_args()
    names = [options.only] if options.only else list(CASES)
    each = -(-(700 if options.quick else options.cases) // len(names))
    lines, failed = [], False
    for name in names:
        line, bad = _many(name, each, options.seed)
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


if __name__ == "__main__":
    main()
