"""From a study to its runs: every hyperparameter spelled out, every run with its folder, in a fair order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robuststream import records, registry
from robuststream.config import Plugin, Recipe, ResolvedPlugin, RunSettings, Study
from robuststream.contracts import Sampler, Scenario
from robuststream.data.catalog import fingerprint
from robuststream.errors import UserError


@dataclass(frozen=True)
class PlannedRun:
    """One run and where it lives."""

    settings: RunSettings
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        """With a result that is there to its end: one that a fault has cut short is computed again."""
        return records.is_whole(self.folder / "result.json")


def plan(study: Study, folder: Path) -> list[PlannedRun]:
    """All runs of a study. The arms of a seed stand back to back in random order (rule 7), so that drift is shared noise."""
    samplers = [_resolve(plugin, "samplers", Sampler) for plugin in study.samplers]
    scenarios = [_resolve(plugin, "scenarios", Scenario) for plugin in study.scenarios]
    device, sources = resolve_device(study.device), _sources(study.recipe)
    runs = []
    for seed in study.seeds:
        for scenario in scenarios:
            block = list(samplers)
            random.Random(f"{study.name}/{seed}/{scenario.label}").shuffle(block)
            for sampler in block:
                settings = RunSettings(
                    rules=records.RULES,
                    sampler=sampler,
                    scenario=scenario,
                    recipe=study.recipe,
                    seed=seed,
                    device=device,
                    sources=sources,
                )
                runs.append(PlannedRun(settings, folder / "runs" / records.run_name(settings.model_dump())))
    return runs


def _sources(recipe: Recipe) -> dict[str, str]:
    """What decides the numbers beside the settings: a third party's network, and data of the user's own."""
    found = {"model": registry.source("models", recipe.model), "data": fingerprint(recipe.data)}
    return {name: source for name, source in found.items() if source}


def study_settings(study: Study, runs: list[PlannedRun], command: str) -> dict[str, Any]:
    """What `study.json` says: the study as asked for, and the names of the runs that it consists of."""
    return {
        "rules": records.RULES,
        **study.model_dump(),
        "command": command,
        "runs": [run.name for run in runs],
    }


def resolve_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises UserError for a device that this machine does not have."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device={device} is not possible (torch {torch.__version__} finds no CUDA device here; use cpu)")
    return device


def _resolve(plugin: Plugin, kind: str, base: type[Sampler] | type[Scenario]) -> ResolvedPlugin:
    """Construct the plug-in once, so that its own checks speak before anything runs. Changed code makes new runs."""
    built = registry.load(kind, plugin.kind, base).from_settings(plugin.given, f"{kind}.{plugin.label}")  # pyright: ignore
    source = " ".join(filter(None, (registry.source(kind, plugin.kind), built.fingerprint())))
    return ResolvedPlugin(label=plugin.label, kind=plugin.kind, settings=built.settings(), source=source)
