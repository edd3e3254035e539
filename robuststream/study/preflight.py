"""Before anything is written: does the data exist, do the labels corrupt, does the network fit? How many runs go side by side,
and how long will it take?"""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

import torch

from robuststream.config import RunSettings
from robuststream.errors import UserError
from robuststream.study import nursery
from robuststream.study.planned import PlannedRun
from robuststream.study.process import settle
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.world import build_world

MEASURED_STEPS = 30

SMALL_STEP = 2e10
"""FLOPs: a GPU is done with so many in less time than the host takes to ask for a step."""
OWN_MEMORY = 4e9
"""Bytes of a GPU that a small run takes at most: its context, its data, activations of an evaluation."""


def preflight(runs: list[PlannedRun]) -> int:
    """Build the world of one run per scenario, so that a mistake in the settings is answered now: how many runs go side by side.
    Raises UserError."""
    first_of_scenario = {run.settings.scenario.label: run.settings for run in reversed(runs)}
    largest = 0.0
    for settings in first_of_scenario.values():
        # Compiling would take a minute, and says nothing of the settings.
        plain = settings.model_copy(update={"recipe": settings.recipe.model_copy(update={"compile": False})})
        try:
            world = build_world(plain)
            pool, cost = world.pool, world.ledger.cost
        except (UserError, OSError):  # told as they are
            raise
        except (Exception, SystemExit) as error:  # a plug-in's, of whatever kind, or no memory
            raise UserError(_unbuilt(settings, error)) from error
        if pool.size < pool.batch_size:
            raise UserError(
                f"recipe.batch_size={pool.batch_size} is not possible (the pool holds {pool.size} examples after the "
                f"validation split)"
            )
        largest = max(largest, pool.batch_size * (cost.forward + cost.backward))
    return at_once(torch.device(runs[0].settings.device), largest)


def at_once(device: torch.device, step: float) -> int:
    """Runs side by side, unless asked otherwise: one per core; of those that leave a GPU idle at every step (its FLOPs say so) as
    many as there are cores to ask it and memory on it, of others one a GPU."""
    if device.type == "cpu":
        return nursery.cores()
    gpus = torch.cuda.device_count() if device.index is None else 1
    if step > SMALL_STEP:
        return gpus
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(nursery.cores(), gpus * int(free / OWN_MEMORY)))


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
        settle(threads)
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
