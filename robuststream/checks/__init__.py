"""The sampler contract, made runnable: the same checks for us and for third parties, behind `robuststream check`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robuststream.checks import draws, manners
from robuststream.checks.toy import Factory
from robuststream.checks.waits import is_of_torch

__all__ = ["CHECKS", "CheckResult", "run_checks"]

CHECKS: dict[str, Callable[[Factory], str]] = {
    "hyperparameters-round-trip": manners.hyperparameters_round_trip,
    "legal-draws": draws.legal_draws,
    "finite-weights": draws.finite_weights,
    "never-waits-for-host": manners.never_waits_for_host,
    "same-seed-same-draws": draws.same_seed_same_draws,
    "other-seed-other-draws": draws.other_seed_other_draws,
    "resumes-bit-equal": draws.resumes_bit_equal,
    "survives-extreme-losses": draws.survives_extreme_losses,
    "clean-labels-out-of-reach": manners.clean_labels_out_of_reach,
    "learns-a-toy-task": draws.learns_a_toy_task,
    "small-pool-refused": manners.small_pool_refused,
    "leaves-globals-alone": manners.leaves_globals_alone,
    "observes-without-altering": manners.observes_without_altering,
}
"""In order of running. A check returns a remark or '', and raises where the sampler fails; its docstring is one line."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. `message` tells the plug-in's author what to do, or remarks on how it passed; often ''."""

    name: str
    passed: bool
    message: str


def run_checks(factory: Factory) -> list[CheckResult]:
    """Every check on fresh samplers from a zero-argument factory: a class, or `functools.partial(Class, setting=value)`."""
    return [_run(name, check, factory) for name, check in CHECKS.items()]


def _run(name: str, check: Callable[[Factory], str], factory: Factory) -> CheckResult:
    try:
        return CheckResult(name, True, check(factory))
    except Exception as error:
        return CheckResult(name, False, _message(error))


def _message(error: Exception) -> str:
    """In one line. What a check itself says stands alone; anything else comes with the line of the plug-in where it arose."""
    source = error.__cause__ if isinstance(error, AssertionError) and error.__cause__ else error
    place = next(at for at in reversed(traceback.extract_tb(source.__traceback__)) if not is_of_torch(at.filename))
    said = " ".join(str(error).split())
    if isinstance(source, AssertionError) and Path(place.filename).parent == Path(__file__).parent:
        return said
    kind = "" if isinstance(error, AssertionError) and said else f"{type(error).__name__}: "
    return f"{kind}{said} ({Path(place.filename).name}:{place.lineno})"
