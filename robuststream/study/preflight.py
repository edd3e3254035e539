"""Before anything is written: does the data exist, do the labels corrupt, does the network fit? And how long will it take?"""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

import torch

from robuststream.config import RunSettings
from robuststream.errors import UserError
from robuststream.study.allocator import keep_memory
from robuststream.study.planned import PlannedRun
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.world import build_world

MEASURED_STEPS = 30


def preflight(runs: list[PlannedRun]) -> None:
    """Build the world of one run per scenario, so that a mistake in the settings is answered now. Raises UserError."""
    first_of_scenario = {run.settings.scenario.label: run.settings for run in reversed(runs)}
    for settings in first_of_scenario.values():
        try:
            pool = build_world(settings).pool
        except (UserError, OSError):  # told as they are
            raise
        except (Exception, SystemExit) as error:  # a plug-in's, of whatever kind, or no memory
            raise UserError(_unbuilt(settings, error)) from error
        if pool.size < pool.batch_size:
            raise UserError(
                f"recipe.batch_size={pool.batch_size} is not possible (the pool holds {pool.size} examples after the "
                f"validation split)"
            )


def _unbuilt(settings: RunSettings, error: BaseException) -> str:
    """In one line, with the place in the code: this process writes no traceback anywhere."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return f"scenario '{settings.scenario.label}' cannot be set up: {told} ({Path(place.filename).name}:{place.lineno})"


def estimate(runs: list[PlannedRun], jobs: int, threads: int) -> float | None:
    """Seconds that these runs will take, from the first steps of the first of them, trained in a folder of its own.

    None where these steps fail: a plan is printed all the same, and `bench` will say why.
    """
    if not runs:
        return 0.0
    settings = runs[0].settings
    with tempfile.TemporaryDirectory() as folder:
        keep_memory()
        torch.set_num_threads(threads)
        try:
            per_run = _measure(settings, Path(folder))
        except Exception:  # a plug-in's, of whatever kind
            return None
    budgets = [run.settings.recipe.budget.amount for run in runs]
    return per_run * sum(budgets) / budgets[0] / min(jobs, len(runs))


def _measure(settings: RunSettings, folder: Path) -> float:
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return asked > MEASURED_STEPS

    try:
        result = train(settings, folder, Watch(stop=enough))
    except Stopped as stopped:
        return stopped.training / stopped.spent + stopped.evaluation * (settings.recipe.evaluations + 1)
    return result["seconds"]["train"] + result["seconds"]["evaluation"]
