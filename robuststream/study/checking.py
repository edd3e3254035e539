"""`check`: the public contract checks on one sampler, and what they say, a line each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.text import Text

from robuststream import registry
from robuststream.checks import CHECKS, run_checks
from robuststream.contracts import Sampler
from robuststream.studies import parse_override


def print_checks() -> None:
    """Every check by name, with what it asks."""
    for name, check in CHECKS.items():
        print(f"{name}: {(check.__doc__ or '').strip().splitlines()[0]}")


def check_sampler(name: str, overrides: Sequence[str]) -> int:
    """Run all checks on a sampler with its defaults (or `key=value` hyperparameters); 0 where all pass, else 1."""
    cls = registry.load("samplers", name, Sampler)
    given = {".".join(keys): value for keys, value in map(parse_override, overrides)}
    cls.from_settings(given, name)  # a wrong hyperparameter is the user's mistake, not a failed check
    torch.set_num_threads(1)
    results = run_checks(lambda: cls.from_settings(given, name))
    console = Console(highlight=False)
    for result in results:
        mark = Text("passed", "green") if result.passed else Text("FAILED", "red")
        console.print(mark, Text(f"{result.name}" + (f": {result.message}" if result.message else "")), soft_wrap=True)
    failed = sum(not result.passed for result in results)
    console.print(f"{name}: {len(results) - failed} of {len(results)} checks passed", markup=False)
    return 1 if failed else 0
