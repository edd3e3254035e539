"""Draw and update: our sum tree beside its peers, one thread, any size. `python benchmarks/draws.py --help`"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from cells import measure
from contenders import PEERS
from harness.machine import machine, one_thread
from harness.measure import Rules
from harness.report import machine_section, targets_section, write
from verdicts import METHOD, record, tables, targets

SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
COUNTS = (128, 512, 65536)
QUICK_SIZES = (10**4, 10**6, 10**7, 10**8)
QUICK_COUNTS = (128, 512)
QUICK_RULES = Rules(blocks=15, seconds=0.002, budget=0.5, least=3, repeats=8)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells and blocks: within 45 seconds")
    parser.add_argument("--write", action="store_true", help="write reports/benchmarks/draws.md and draws.json")
    parser.add_argument("--sizes", type=lambda text: int(float(text)), nargs="+", metavar="N", help="examples, as in 1e4 1e6")
    parser.add_argument("--counts", type=int, nargs="+", metavar="n", help="drawn and updated in one step")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None, rules: Rules | None = None) -> None:
    """Measure, print a line per target, and write the report where that was asked."""
    begun = time.perf_counter()
    chosen = arguments(given)
    one_thread()
    rules = rules or (QUICK_RULES if chosen.quick else Rules())
    sizes = chosen.sizes or (QUICK_SIZES if chosen.quick else SIZES)
    counts = chosen.counts or (QUICK_COUNTS if chosen.quick else COUNTS)
    facts = machine(PEERS)
    results = measure(sizes, counts, rules, chosen.quick)
    judged = targets(results)
    if not chosen.quick:
        print(tables(results))
    if chosen.write:
        sections = ["# Draw and update", METHOD, targets_section(judged), tables(results), machine_section(facts)]
        print(f"written: {write('draws', sections, {'machine': facts, **record(results, rules, judged)}).name}")
    lines = [f"absent: {name}: {reason}" for name, reason in results.absent.items()]
    print(*lines, *(target.line() for target in judged), sep="\n")
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
