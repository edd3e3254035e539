"""What a run spent, in examples, FLOPs and seconds (rules 2 and 3), averaged over an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

FORWARDS = ("train", "probe", "perturb")
"""What a forward pass was spent on (rule 2)."""

PHASES = ("draw", "probe", "fetch", "perturb", "forward", "backward", "step", "observe")
"""What the seconds on the clock were spent on (rule 3)."""


@dataclass(frozen=True)
class Costs:
    """Means over the finished runs of an arm; examples, FLOPs, seconds."""

    steps: float
    backwards: float
    flops: float
    auxiliary_flops: float  # of these, spent on companion networks
    forwards: dict[str, float]  # train, probe, perturb
    overhead: float | None  # charged forwards per backward
    seconds: float  # on the clock
    seconds_per_step: float | None
    phases: dict[str, float]  # share of the seconds on the clock
    evaluation: float  # seconds off the clock
    compile: float  # seconds off the clock


def mean_costs(results: Sequence[dict[str, Any]]) -> Costs:
    """Of the results of an arm, at least one."""
    totals, seconds = [result["totals"] for result in results], [result["seconds"] for result in results]
    forwards = {kind: _mean([total["forwards"] for total in totals], kind) for kind in FORWARDS}
    steps, backwards, train = _mean(totals, "steps"), _mean(totals, "backwards"), _mean(seconds, "train")
    phases = {phase: _mean([part["phases"] for part in seconds], phase) for phase in PHASES}
    return Costs(
        steps=steps,
        backwards=backwards,
        flops=_mean(totals, "flops"),
        auxiliary_flops=_mean([total.get("auxiliary") or {} for total in totals], "flops"),
        forwards=forwards,
        overhead=sum(forwards.values()) / backwards if backwards else None,
        seconds=train,
        seconds_per_step=train / steps if steps else None,
        phases={phase: spent / train for phase, spent in phases.items()} if train else {},
        evaluation=_mean(seconds, "evaluation"),
        compile=_mean(seconds, "compile"),
    )


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return fmean(row.get(key) or 0.0 for row in rows)
