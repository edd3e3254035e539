"""Synthetic study folders with planted truths: what a report must find in them is known beforehand.

Every curve is accuracy = chance + (top - chance) * min(1, speed * x / 0.8) ** 0.5 at budget share x, so that uniform (speed 1)
reaches a share s of its gain at x = 0.8 * s ** 2 and an arm of speed v at exactly a v-th of that cost in charged FLOPs.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robuststream.records import RULES, RunRecords, run_name

CLASSES, TRAIN, BATCH, EPOCHS = 10, 1000, 50, 10.0
FORWARD, BACKWARD = 1e6, 2e6  # FLOPs per example
BUDGET = EPOCHS * TRAIN * (FORWARD + BACKWARD)
CHANCE = 1 / CLASSES


@dataclass(frozen=True)
class Arm:
    """What is planted of one sampler."""

    label: str
    kind: str
    speed: float = 1.0
    top: float = 0.9
    probes: float = 0.0  # probed examples per trained one
    stores: bool = False  # keeps base values: has concordance and histograms
    enrichment: float = 1.0  # in scenarios with wrong labels
    diverges: bool = False
    jitter: float = 0.0  # standard deviation of log speed over seeds, and in units of 5 points of the top
    settings: dict[str, Any] = field(default_factory=dict)
    placebo: bool = False
    auxiliary: float = 0.0  # share of the FLOPs that companions take, from the first evaluation on


@dataclass(frozen=True)
class World:
    """What is planted of one scenario."""

    label: str = "clean"
    kind: str = "clean"
    wrong: float = 0.0  # share of wrong labels
    figures: dict[str, float] = field(default_factory=dict)


UNIFORM = Arm("uniform", "uniform", settings={"replacement": False})
TWICE = Arm("plb", "plb", speed=2.0, top=0.92, probes=0.1, stores=True, enrichment=0.6, settings={"warmup_epochs": 1.0})
HALF = Arm("lb", "lb", speed=0.5, top=0.9, stores=True, enrichment=1.8, settings={"beta": 0.5})
NEVER = Arm("owc", "owc", top=0.5, probes=1.0)


def fake_study(
    folder: Path,
    arms: tuple[Arm, ...] = (UNIFORM, TWICE, HALF, NEVER),
    worlds: tuple[World, ...] = (World(),),
    seeds: int = 5,
    evaluations: int = 20,
    skip: int = 0,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a study; its last `skip` runs have no result. `changes` are dotted keys of a result -> value, for every run."""
    runs = fake_runs(arms, worlds, seeds, evaluations)
    for run in runs:
        for key, value in (changes or {}).items():
            _set(run.result or {}, key.split("."), value)
    recipe = runs[0].settings["recipe"]
    study = {
        "rules": RULES,
        "name": "fake",
        "about": "Whether a report finds what was planted.",
        "recipe": recipe,
        "seeds": list(range(seeds)),
        "samplers": [_entry(arm) for arm in arms],
        "scenarios": [{"label": world.label, "kind": world.kind, "given": {}} for world in worlds],
        "device": "cpu",
        "command": "robuststream bench fake",
        "runs": [run_name(run.settings) for run in runs],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study))
    for place, run in enumerate(runs):
        write_run(folder, run, finished=place < len(runs) - skip)
    return folder


def fake_budgets(folder: Path, arms: tuple[Arm, ...], shares: tuple[float, ...], seeds: int = 5) -> Path:
    """A study at several budgets: a run at share s of the recipe's ends lower by 10 points times (1 - s)."""
    fake_study(folder, arms, seeds=seeds)
    study = json.loads((folder / "study.json").read_text()) | {"budgets": list(shares), "runs": []}
    for share in shares:
        cut = tuple(replace(arm, top=arm.top - 0.1 * (1 - share)) for arm in arms)
        for run in fake_runs(cut, seeds=seeds):
            run.settings["recipe"] = run.settings["recipe"] | {"budget": {"amount": share * EPOCHS, "unit": "epochs"}}
            study["runs"].append(run_name(run.settings))
            if share != 1.0:
                write_run(folder, run)
    (folder / "study.json").write_text(json.dumps(study))
    return folder


def _entry(arm: Arm) -> dict[str, Any]:
    return {"label": arm.label, "kind": arm.kind, "given": arm.settings} | ({"placebo": True} if arm.placebo else {})


def fake_runs(
    arms: tuple[Arm, ...], worlds: tuple[World, ...] = (World(),), seeds: int = 5, evaluations: int = 20
) -> list[RunRecords]:
    """Seeds outermost, as blocks are run (rule 7)."""
    order = [(seed, world, arm) for seed in range(seeds) for world in worlds for arm in arms]
    return [fake_run(arm, world, seed, evaluations, place) for place, (seed, world, arm) in enumerate(order)]


def write_run(folder: Path, run: RunRecords, finished: bool = True) -> None:
    place = folder / "runs" / run_name(run.settings)
    place.mkdir(parents=True)
    (place / "settings.json").write_text(json.dumps(run.settings))
    (place / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in run.evaluations))
    if finished:
        (place / "result.json").write_text(json.dumps(run.result))


def fake_run(arm: Arm, world: World, seed: int, evaluations: int = 20, order: int = 0) -> RunRecords:
    rows = [_evaluation(arm, world, seed, place, evaluations) for place in range(evaluations + 1)]
    settings = {
        "rules": RULES,
        "sampler": {"label": arm.label, "kind": arm.kind, "settings": arm.settings} | ({"placebo": True} if arm.placebo else {}),
        "scenario": {"label": world.label, "kind": world.kind, "settings": {"rate": world.wrong}},
        "recipe": RECIPE | {"evaluations": evaluations},
        "seed": seed,
        "device": "cpu",
    }
    return RunRecords(settings, rows, _result(arm, world, seed, rows, order))


def _evaluation(arm: Arm, world: World, seed: int, place: int, evaluations: int) -> dict[str, Any]:
    share = place / evaluations
    backwards = share * BUDGET / (FORWARD * (1 + arm.probes) + BACKWARD)
    luck = random.Random(f"{arm.label}/{world.label}/{seed}")
    speed = arm.speed * math.exp(arm.jitter * luck.gauss(0, 1))
    top = arm.top + 0.004 * (seed % 5 - 2)  # shared by the arms of a seed, so that without jitter gaps are exact
    top += 0.05 * arm.jitter * luck.gauss(0, 1)
    accuracy = CHANCE + (top - CHANCE) * min(1.0, speed * share / 0.8) ** 0.5
    noisy = world.wrong > 0 and place > 0
    return {
        "step": round(backwards / BATCH),
        "spent": share,
        "forwards": round(backwards * (1 + arm.probes)),
        "backwards": round(backwards),
        "flops": share * BUDGET,
        **({"auxiliary_flops": arm.auxiliary * BUDGET * (place > 0)} if arm.auxiliary else {}),
        "seconds": backwards * 1e-3,
        "lr": 0.1 * (1 - share),
        "train_loss": 2.3 * (1 - accuracy) if place else None,
        "validation_loss": 2.3 * (1 - accuracy),
        "validation_accuracy": CHANCE if arm.diverges else accuracy,
        "wrong_drawn": arm.enrichment * world.wrong if noisy else None,
        "enrichment": arm.enrichment if noisy else None,
        "memorised": 0.3 * share if noisy else None,
        "coverage": 0.8 if arm.stores else 1.0,
        "ess": 0.6 if arm.stores else None,
        "age": 900.0 * share if arm.stores else None,
        "concordance": 0.9 - 0.2 * share + 0.01 * (seed % 3) if arm.stores else None,
        "histogram": _histogram(seed) if arm.stores and place in (0, evaluations // 2, evaluations) else None,
    }


def _histogram(seed: int) -> dict[str, list[float]]:
    generator = random.Random(seed)
    return {
        "edges": [round(0.1 * edge, 3) for edge in range(31)],
        "stored": [generator.randint(0, 100) for _ in range(30)],
        "fresh": [generator.randint(0, 100) for _ in range(30)],
    }


def _result(arm: Arm, world: World, seed: int, rows: list[dict[str, Any]], order: int) -> dict[str, Any]:
    last, wrong = rows[-1], round(TRAIN * world.wrong)
    best = max(rows, key=lambda row: row["validation_accuracy"])
    each = TRAIN // CLASSES
    kept = each - wrong // CLASSES
    matrix = [[kept if a == b else (each - kept) // (CLASSES - 1) for b in range(CLASSES)] for a in range(CLASSES)]
    seconds = last["seconds"]
    return {
        "rules": RULES,
        "diverged": arm.diverges,
        "last": {"validation_accuracy": last["validation_accuracy"], "test_accuracy": last["validation_accuracy"] - 0.01},
        "best": {key: best[key] for key in ("step", "spent", "validation_accuracy")}
        | {"test_accuracy": best["validation_accuracy"] - 0.005},
        "totals": {
            "steps": last["step"],
            "forwards": {"train": last["backwards"], "probe": round(last["backwards"] * arm.probes), "perturb": 0},
            "backwards": last["backwards"],
            "flops": BUDGET,
            "auxiliary": {"forwards": 0, "backwards": 0, "flops": arm.auxiliary * BUDGET},
            "flops_per_forward": FORWARD,
            "flops_per_backward": BACKWARD,
            "budget_flops": BUDGET,
        },
        "seconds": {
            "train": seconds,
            "phases": {"draw": 0.1 * seconds, "fetch": 0.1 * seconds, "forward": 0.3 * seconds, "backward": 0.5 * seconds},
            "evaluation": 0.05 * seconds,
            "checkpoint": 0.01,
            "compile": 0.2,
        },
        "data": {"name": "digits", "num_classes": CLASSES, "train": TRAIN, "validation": 100, "test": 360, "hash": "d1g175"},
        "labels": {
            "wrong": wrong,
            "rate": wrong / TRAIN,
            "hash": f"{world.label}-{seed}",
            "matrix": matrix,
            "per_class": [wrong / TRAIN] * CLASSES,
        },
        "counters": {"presented": last["backwards"]},
        "scenario": world.figures,
        "provenance": PROVENANCE | {"started": f"2026-01-01T{order // 60:02d}:{order % 60:02d}:00+00:00"},
    }


PROVENANCE = {
    "robuststream": "0.1.0",
    "python": "3.11.7",
    "torch": "2.11.0",
    "numpy": "2.4.6",
    "platform": "Linux",
    "device": "cpu",
    "threads": 1,
    "commit": "0123456789ab",
    "dirty": False,
}

RECIPE: dict[str, Any] = {
    "name": "digits-cnn",
    "data": "digits",
    "train_size": None,
    "validation": 0.1,
    "model": "cnn",
    "model_settings": {},
    "optimizer": "sgd",
    "lr": 0.1,
    "schedule": "linear",
    "batch_size": BATCH,
    "augment": {"crop": 0, "flip": False},
    "budget": {"amount": EPOCHS, "unit": "epochs"},
}


def _set(place: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
