"""`merge`: one study from the folders of several machines, or a refusal in one line where they do not fit together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robuststream.errors import UserError
from robuststream.evidence.tradeoff import shares
from robuststream.records import (
    NETWORK,
    RunRecords,
    make_folder,
    read_study,
    run_name,
    without_time,
    write_bytes,
    write_json,
    write_text,
)

_ALIKE = ("name", "recipe", "device")
"""What the parts of a study must agree in, beside every sampler and scenario that they share."""


def merge(out: Path, parts: Sequence[Path]) -> tuple[int, int]:
    """Write the union of the parts' plans and finished runs as a new study; (finished, planned) of it.

    Parts may differ in their seeds, and in which samplers and scenarios they have. Nothing is written before all is checked.

    Raises UserError where a part is no study's folder or was measured under other rules, `out` holds something, settings
    differ, or one run was finished twice with different results.
    """
    if len(parts) < 2:
        raise UserError("name at least two studies to merge, as in: robuststream merge OUT A B")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already and is not an empty folder; nothing was merged")
    read = [(part, *read_study(part)) for part in parts]
    study = _merged(parts, [study for _, study, _ in read])
    runs = _runs([(part, own) for part, _, own in read])
    make_folder(out)
    for name, run in runs.items():
        _write_run(out / "runs" / name, run, [part / "runs" / name / NETWORK for part in parts])
    write_json(out / "study.json", study)
    return len(runs), len(study["runs"])


def _merged(parts: Sequence[Path], studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first study's settings with the seeds, samplers, scenarios and runs of all."""
    whole = dict(studies[0])
    for part, study in zip(parts[1:], studies[1:], strict=True):
        for key in _ALIKE:
            if study[key] != whole[key]:
                raise UserError(f"{part} does not fit {parts[0]}: {_difference(key, whole[key], study[key])}")
        for section in ("samplers", "scenarios"):
            whole[section] = _union(whole[section], study[section], section, part)
        budgets = sorted({*shares(whole), *shares(study)})
        whole |= {"budgets": budgets} if len(budgets) > 1 or budgets != [1.0] else {}
        whole["seeds"] = sorted({*whole["seeds"], *study["seeds"]})
        whole["runs"] = list(dict.fromkeys((*whole["runs"], *study["runs"])))
    return whole


def _union(known: list[dict[str, Any]], more: list[dict[str, Any]], section: str, part: Path) -> list[dict[str, Any]]:
    entries = {entry["label"]: entry for entry in known}
    for entry in more:
        if entries.setdefault(entry["label"], entry) != entry:
            raise UserError(
                f"{part} does not fit: its {section[:-1]} '{entry['label']}' has other settings than in the first part"
            )
    return list(entries.values())


def _difference(key: str, first: Any, second: Any) -> str:
    """Names the setting of a recipe that differs, not the whole recipe."""
    if isinstance(first, dict) and isinstance(second, dict):
        inner = next(name for name in dict.fromkeys((*first, *second)) if first.get(name) != second.get(name))
        return f"{key}.{inner} is {second.get(inner)!r} there and {first.get(inner)!r} here"
    return f"{key} is {second!r} there and {first!r} here"


def _runs(parts: Sequence[tuple[Path, Sequence[RunRecords]]]) -> dict[str, RunRecords]:
    """Name -> finished run. Unfinished ones stay where they are: only the machine that began one can go on with it."""
    found: dict[str, RunRecords] = {}
    places: dict[tuple[str, str, float, int], str] = {}
    for part, runs in parts:
        for run in runs:
            if run.result is None:
                continue
            name, place = run_name(run.settings), (run.sampler, run.scenario, run.budget, run.seed)
            told = f"{run.sampler}, {run.scenario}, seed {run.seed}"
            if places.setdefault(place, name) != name:
                raise UserError(f"{part} does not fit: its run ({told}) has other settings than another part's")
            # How long it took, when and where is the first part's.
            if without_time(found.setdefault(name, run).result or {}) != without_time(run.result or {}):
                raise UserError(f"{part} does not fit: its run ({told}) was finished in another part too, with another result")
    return found


def _write_run(folder: Path, run: RunRecords, networks: Sequence[Path]) -> None:
    """The result last, as a run itself does it; with the network where some part has kept it."""
    folder.mkdir(parents=True)
    write_json(folder / "settings.json", run.settings)
    write_text(folder / "records.jsonl", "".join(json.dumps(row) + "\n" for row in run.evaluations))
    if network := next((path for path in networks if path.exists()), None):
        write_bytes(folder / NETWORK, network.read_bytes())
    write_json(folder / "result.json", run.result)
