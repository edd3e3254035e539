"""From a study to its runs: every hyperparameter spelled out, every run with its folder, in a fair order."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from robuststream import records, registry
from robuststream.config import Plugin, Recipe, ResolvedPlugin, RunSettings, Study
from robuststream.contracts import Learner, Sampler, Scenario
from robuststream.data.catalog import fingerprint
from robuststream.errors import UserError
from robuststream.study.planned import PlannedRun


def plan(study: Study, folder: Path) -> list[PlannedRun]:
    """All runs of a study. The arms of a seed stand back to back in random order (rule 7), so that drift is shared noise."""
    arms = [(_resolve(plugin, "samplers", Sampler), _resolve_learner(plugin)) for plugin in study.samplers]
    scenarios = [(_resolve(plugin, "scenarios", Scenario), study.recipe_of(plugin)) for plugin in study.scenarios]
    device, sources = resolve_device(study.device), _sources(study.recipe)
    blocks = []
    for scenario, own in scenarios:
        for share, recipe in _at_budgets(own, study.budgets).items():
            fixed = {"rules": records.RULES, "scenario": scenario, "recipe": recipe, "device": device, "sources": sources}
            settings = [RunSettings(sampler=sampler, learner=learner, seed=study.seeds[0], **fixed) for sampler, learner in arms]
            blocks.append((f"{scenario.label}{share}", [_over_seeds(one, study.seeds, folder / "runs") for one in settings]))
    runs = []
    for place, seed in enumerate(study.seeds):
        for label, arms_over_seeds in blocks:
            block = [over_seeds[place] for over_seeds in arms_over_seeds]
            random.Random(f"{study.name}/{seed}/{label}").shuffle(block)
            runs += block
    return runs


def _over_seeds(settings: RunSettings, seeds: list[int], folder: Path) -> list[PlannedRun]:
    """One arm in one scenario at every seed. Nothing is checked or hashed anew, since thousands of runs differ in no more."""
    names = records.run_names(settings.model_dump(), seeds)
    return [
        PlannedRun(settings.model_copy(update={"seed": seed}), folder / name) for seed, name in zip(seeds, names, strict=True)
    ]


def _at_budgets(recipe: Recipe, shares: list[float]) -> dict[str, Recipe]:
    """The recipe at each of a study's budgets. At share 1 it is the recipe itself, so those runs are any other study's."""
    found = {}
    for share in shares or [1.0]:
        budget = recipe.budget.model_copy(update={"amount": share * recipe.budget.amount})
        found["" if share == 1 else f"/{share:g}"] = recipe.model_copy(update={"budget": budget})
    return found


def with_placebos(study: Study) -> Study:
    """The study with the arms that `placebos: true` asks for: after every sampler that selects, its placebo (rule 9)."""
    if not study.placebos:
        return study
    given = [_but_name(plugin) for plugin in study.samplers if plugin.placebo]
    arms: list[Plugin] = []
    for plugin in study.samplers:
        arms.append(plugin)
        asked = plugin.placebo or _but_name(plugin) in given
        if not asked and _build(plugin, "samplers", Sampler).selects:  # pyright: ignore[reportAttributeAccessIssue]
            arms.append(plugin.model_copy(update={"label": f"{plugin.label}-placebo", "placebo": True}))
    return study.model_copy(update={"samplers": arms})


def _sources(recipe: Recipe) -> dict[str, str]:
    """What decides the numbers beside the settings: a third party's network, and data of the user's own."""
    found = {"model": registry.source("models", recipe.model), "data": fingerprint(recipe.data)}
    return {name: source for name, source in found.items() if source}


def resolve_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises UserError for a device that this machine does not have."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device={device} is not possible (torch {torch.__version__} finds no CUDA device here; use cpu)")
    return device


def _but_name(arm: Plugin) -> Plugin:
    """What tells an arm from its placebo aside: the same method with the same settings under the same learner."""
    return arm.model_copy(update={"label": "", "placebo": False})


def _resolve_learner(arm: Plugin) -> ResolvedPlugin | None:
    if arm.learner is None or arm.learner.kind == "cross-entropy":  # named or not, it is the same run
        return None
    return _resolve(arm.learner, "learners", Learner, f"samplers.{arm.label}.learner")


def _resolve(plugin: Plugin, kind: str, base: type[Sampler | Learner | Scenario], where: str = "") -> ResolvedPlugin:
    """Construct the plug-in once, so that its own checks speak before anything runs. Changed code makes new runs."""
    built = _build(plugin, kind, base, where)
    if plugin.placebo and isinstance(built, Sampler) and not built.selects:
        raise UserError(
            f"samplers.{plugin.label}: placebo=true is not possible ({plugin.kind} selects nothing, so it is its own placebo)"
        )
    source = " ".join(filter(None, (registry.source(kind, plugin.kind), built.fingerprint())))
    return ResolvedPlugin(label=plugin.label, kind=plugin.kind, settings=built.settings(), source=source, placebo=plugin.placebo)


def _build(plugin: Plugin, kind: str, base: type[Sampler | Learner | Scenario], where: str = "") -> Sampler | Learner | Scenario:
    return registry.load(kind, plugin.kind, base).from_settings(plugin.given, where or f"{kind}.{plugin.label}")  # pyright: ignore
