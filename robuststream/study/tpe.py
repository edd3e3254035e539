"""Trials suggested by optuna's tree-structured Parzen estimator, from the validation accuracy of the earlier ones."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from robuststream import records
from robuststream.config import Plugin, Study
from robuststream.errors import UserError
from robuststream.study.trials import Suggest, is_logarithmic, is_range, space


def by_parzen(study: Study, folder: Path) -> Suggest:
    """Suggestions that learn from the runs in `folder`; a trial that is there already is suggested again as it was.

    Raises UserError where optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("--search tpe needs optuna: pip install 'robuststream[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def suggest(arm: Plugin, trial: int) -> dict[str, Any]:
        given, accuracy = _so_far(folder)
        label = f"{arm.label}#{trial}"
        space_ = {name: _distribution(values) for name, values in space(arm).items()}
        if label in given:
            return {name: given[label][name] for name in space_}
        seed = int(records.identity({"study": study.name, "trial": label}), 16) % 2**32
        search = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=3))
        for earlier in range(1, trial):
            before = f"{arm.label}#{earlier}"
            if before in accuracy:
                params = {name: given[before][name] for name in space_}
                search.add_trial(optuna.create_trial(params=params, distributions=space_, value=accuracy[before]))
        return search.ask(space_).params

    return suggest


def _distribution(values: tuple[Any, ...]) -> Any:
    from optuna import distributions

    if not is_range(values):
        return distributions.CategoricalDistribution(values)
    low, high = values
    if isinstance(low, int) and isinstance(high, int):
        return distributions.IntDistribution(low, high, log=is_logarithmic(low, high))
    return distributions.FloatDistribution(low, high, log=is_logarithmic(low, high))


def _so_far(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """(label -> settings given, label -> mean validation accuracy of its finished runs) of the trials in a folder."""
    if not (folder / "study.json").exists():
        return {}, {}
    study, runs = records.read_study(folder)
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.result is not None:
            found.setdefault(run.sampler, []).append(run.result["last"]["validation_accuracy"])
    given = {entry["label"]: entry["given"] for entry in study["samplers"]}
    return given, {label: fmean(values) for label, values in found.items()}
