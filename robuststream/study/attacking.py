"""`attack`: attack the network that a finished run left, and add the figure to the run's record. Refusals come without torch."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robuststream import records
from robuststream.config import Robust, RunSettings
from robuststream.errors import UserError
from robuststream.studies import one_line


def attack_run(folder: Path, attacks: str, eps: str, examples: int) -> dict[str, Any]:
    """The measurement that `folder`'s result holds afterwards: a new one, or one of the same eps and examples with more attacks.

    The result is rewritten whole and with everything that it held. Raises UserError where the run is none, has not finished,
    keeps no network, or its data are no longer those that it was measured on.
    """
    robust = wanted(attacks, eps, examples)
    _finished(folder)
    with records.alone(folder):
        run = _finished(folder)
        settings = _settings(folder, run)
        assert run.result is not None
        found = _measured(settings, run.result, folder / records.NETWORK, robust)
        kept = [old for old in run.result.get("robust", []) if not _same(old, found)]
        before = {key: value for key, value in run.result.items() if key not in ("robust", "provenance")}
        whole = {**before, "robust": [*kept, found], "provenance": run.result["provenance"]}
        records.write_json(folder / "result.json", whole)
    return found


def wanted(attacks: str, eps: str, examples: int) -> Robust:
    """The command line's options, held to what a recipe's `robust` may say."""
    try:
        return Robust.model_validate({"attacks": attacks, "eps": eps, "examples": examples})
    except ValidationError as error:
        raise UserError(f"attack: {one_line(error)}") from None


def _finished(folder: Path) -> records.RunRecords:
    run = records.read_run(folder) if folder.is_dir() else None
    if run is None:
        raise UserError(f"{folder} is not a run's folder; {_hint(folder)}")
    if run.settings["rules"] != records.RULES:
        raise UserError(f"{folder} was measured under rules {run.settings['rules']}, this is rules {records.RULES}")
    if run.result is None:
        raise UserError(f"{folder} has not finished; the same `robuststream bench` goes on with it")
    if not (folder / records.NETWORK).exists():
        raise UserError(f"{folder} keeps no network ({records.NETWORK}); delete the folder and run its study again")
    return run


def _hint(folder: Path) -> str:
    """What was probably meant: a run of the study that was named, or a neighbour that is spelled almost so."""
    inside = sorted(path.name for path in (folder / "runs").glob("*/"))
    if inside:
        return f"it is a study's; name one of its {len(inside)} runs, as in {folder / 'runs' / inside[0]}"
    beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, beside, n=1, cutoff=0.5)
    return f"did you mean '{folder.parent / near[0]}'?" if near else "a run is a folder STUDY/runs/NAME"


def _settings(folder: Path, run: records.RunRecords) -> RunSettings:
    try:
        return RunSettings.model_validate(run.settings)
    except ValidationError as error:
        raise UserError(f"{folder / 'settings.json'}: {one_line(error)}") from None


def _measured(settings: RunSettings, result: dict[str, Any], weights: Path, robust: Robust) -> dict[str, Any]:
    from robuststream.study.plan import resolve_device
    from robuststream.training.robustness import measure, possible, revive
    from robuststream.training.streams import stream_seed

    resolve_device(settings.device)
    possible(robust, result["data"]["num_classes"])
    network, test = revive(settings, weights, result["data"]["hash"])
    return measure(network, test, robust, stream_seed(settings.seed, "attack"), known=result.get("robust", []))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Of the same eps on the same examples: these share one worst case."""
    return (one["eps"], one["subset"]) == (other["eps"], other["subset"])
