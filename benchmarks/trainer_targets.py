"""The targets of trainer.py, from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.measure import Timing
from harness.targets import AtLeast, Figure, Target, target
from ledgers import REUSING, SELECTIVE, Ledgers
from loops import Task
from rates import Share
from training_step import Ratio

OURS = ("uniform", "PLB")
BARE, LOADER, WEIGHTED = "bare step", "DataLoader", "DataLoader + WeightedRandomSampler"

Steps = Mapping[Task, Mapping[str, Timing]]


def targets(
    steps: Steps,
    shares: Mapping[Task, Share],
    stored: Mapping[tuple[Task, str], Ratio],
    ledgers: Iterable[Ledgers],
    no_bf16: str = "",
) -> list[Target]:
    """Every CPU target of the trainer. `no_bf16` says why nothing was measured in bf16."""
    ledgers = list(ledgers)
    return [
        _beside_bare("throughput / bare step", steps, augmented=False, limit=0.97),
        _beside_bare("throughput / bare step, crop and flip", steps, augmented=True, limit=0.95),
        *(_beside_people(f"throughput / {peer}, paper-cnn", steps, peer, fast=not no_bf16) for peer in (LOADER, WEIGHTED)),
        _share("share of the product rate, fp32", shares, fast=False, limit=0.55),
        _share("share of the product rate, bf16", shares, fast=True, limit=0.40, reason=no_bf16),
        _at_least("throughput from disk / from memory", ((f"{a}, {t.name}", r, r.value) for (t, a), r in stored.items()), 0.95),
        _agreement(ledgers),
        _selective(ledgers, SELECTIVE, 0.85),
        _selective(ledgers, REUSING, 0.70),
    ]


def _at_least(name: str, ratios: Iterable[tuple[str, Ratio, float]], limit: float, absent: str = "not in this run") -> Target:
    """From (where, ratio, value); what was refused is said in the line."""
    figures, missing = [], []
    for where, ratio, value in ratios:
        if ratio.refused:
            missing.append(f"{where}: {ratio.refused}")
        else:
            figures.append(Figure(value, limit, where))
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    reason = missing[0] + more if missing else "" if figures else absent
    return AtLeast(name, tuple(figures), reason=reason)


def _beside_bare(name: str, steps: Steps, augmented: bool, limit: float) -> Target:
    cells = [(task, timings) for task, timings in steps.items() if task.augmented == augmented]
    ratios = [(f"{arm}, {task.name}", Ratio.of(timings[BARE], timings[arm])) for task, timings in cells for arm in OURS]
    return _at_least(name, ((where, ratio, ratio.value) for where, ratio in ratios), limit)


def _beside_people(name: str, steps: Steps, peer: str, fast: bool) -> Target:
    """Our uniform against their uniform, our PLB against theirs: bf16 as we advise where the machine has it, float32 as people
    write."""
    arm = "uniform" if peer == LOADER else "PLB"
    cells = [(task, timings) for task, timings in steps.items() if peer in timings and task.fast == fast]
    ratios = [(f"{arm}, {task.name}", Ratio.of(timings[peer], timings[arm])) for task, timings in cells]
    return _at_least(name, ((where, ratio, ratio.value) for where, ratio in ratios), 2.5)


def _share(name: str, shares: Mapping[Task, Share], fast: bool, limit: float, reason: str = "") -> Target:
    chosen = [(task.name, share.product_over_step, share.value) for task, share in shares.items() if task.fast == fast]
    return _at_least(name, chosen, limit, reason or "not in this run")


def _agreement(ledgers: Iterable[Ledgers]) -> Target:
    """How far every sampler's time is from its charge, either way."""
    figures, missing = [], []
    for each in ledgers:
        missing += [f"{each.task.name}: {each.refused}"] if each.refused else []
        for name, charged in each.samplers.items():
            if charged.timed.refused:
                missing.append(f"{name}: {charged.timed.refused}")
            else:
                figures.append(Figure(abs(charged.gap), 0.05, f"{name}, {each.task.name}"))
    reason = missing[0] if missing else "" if figures else "not in this run"
    return target("samplers: |timed / charged - 1|", figures, unit="", reason=reason)


def _selective(ledgers: Iterable[Ledgers], name: str, limit: float) -> Target:
    rows = [(each.task.name, each.samplers[name].timed) for each in ledgers if name in each.samplers]
    figures = [Figure(timed.value, limit, where) for where, timed in rows if not timed.refused]
    reason = next((timed.refused for _, timed in rows if timed.refused), "" if figures else "not in this run")
    return target(f"{name} / uniform", figures, reason=reason)
