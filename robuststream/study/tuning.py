"""`tune`: the same number of trials for every sampler, chosen on validation, at a printed price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from robuststream import records
from robuststream.config import Plugin, Study
from robuststream.errors import UserError
from robuststream.study.bench import Bench
from robuststream.study.tpe import by_parzen
from robuststream.study.trials import FIRST_SEED, at_random, trial_study


@dataclass(frozen=True)
class Tuned:
    """One arm after its trials."""

    arm: Plugin
    best: Plugin
    trials: int  # finished ones; 1 where there is nothing to tune
    runs: int  # of all its trials
    accuracy: float  # mean validation accuracy of the best, over scenarios and seeds
    as_given: float  # and of the settings that the study gives
    flops: float  # charged, over all trials


class Tuning:
    """One call of `tune`. Its trials are run folders, so a second call goes on where the first was stopped."""

    def __init__(self, study: Study, folder: Path, command: str, trials: int, seeds: int, search: str, jobs: int) -> None:
        if used := [seed for seed in study.seeds if FIRST_SEED <= seed < FIRST_SEED + seeds]:
            raise UserError(
                f"seeds={used[0]} is not possible here ({FIRST_SEED} to {FIRST_SEED + seeds - 1} belong to the trials)"
            )
        self.study, self.folder, self.command = study, folder, command
        self.trials, self.seeds, self.jobs = trials, seeds, jobs
        self.sequential = search == "tpe"
        self.suggest = by_parzen(study, folder) if self.sequential else at_random(study)

    def run(self) -> int:
        """Execute the trials, choose, and write the tuned study; the exit code is that of `bench`."""
        for trials in range(2, self.trials + 1) if self.sequential else [self.trials]:
            attempt = trial_study(self.study, trials, self.seeds, self.suggest)
            if code := Bench(attempt, self.folder, self.command, jobs=self.jobs, threads=1).run():
                return code
        tuned = choose(self.study, self.folder)
        print("\n".join(in_words(tuned)))
        print(f"tuned study: {write_tuned(self.study, tuned, self.folder, self.command)}")
        return 0


def choose(study: Study, folder: Path) -> list[Tuned]:
    """The best trial of every arm by validation accuracy at the last step, of those that finished all their runs.

    Raises UserError where an arm has no such trial.
    """
    trials_study, runs = records.read_study(folder)
    expected = len(trials_study["scenarios"]) * len(trials_study["seeds"]) * len(trials_study.get("budgets") or [1])
    trials = {entry["label"]: Plugin.model_validate(entry) for entry in trials_study["samplers"]}
    results: dict[str, list[dict[str, Any]]] = {label: [] for label in trials}
    for run in runs:
        if run.result is not None:
            results[run.sampler].append(run.result)
    return [_choose(arm, trials, {k: v for k, v in results.items() if len(v) == expected}) for arm in study.samplers]


def _choose(arm: Plugin, trials: dict[str, Plugin], whole: dict[str, list[dict[str, Any]]]) -> Tuned:
    own = [label for label in whole if label.rpartition("#")[0] == arm.label]
    accuracy = {label: fmean(result["last"]["validation_accuracy"] for result in whole[label]) for label in own}
    if f"{arm.label}#0" not in accuracy:
        raise UserError(f"'{arm.label}' has not finished its trial with the settings as given; run the same command again")
    best = max(own, key=lambda label: accuracy[label])  # the earliest of equals
    return Tuned(
        arm=arm,
        best=trials[best].model_copy(update={"label": arm.label}),
        trials=len(own),
        runs=sum(len(whole[label]) for label in own),
        accuracy=accuracy[best],
        as_given=accuracy[f"{arm.label}#0"],
        flops=sum(result["totals"]["flops"] for label in own for result in whole[label]),
    )


def in_words(tuned: Sequence[Tuned]) -> list[str]:
    """A line per arm: what was tried, what it cost beside the cheapest arm's run, what it brought, and the settings chosen."""
    cheapest = min(one.flops / one.runs for one in tuned)
    lines = []
    for one in tuned:
        change = f"validation {one.as_given:.2%} as given, {one.accuracy:.2%} tuned" if one.trials > 1 else "nothing to tune"
        cost = f"{one.flops:.3g} FLOPs, as much as {one.flops / cheapest:.0f} of the cheapest arm's runs"
        lines.append(f"{one.arm.label}: {one.trials} trials, {cost}; {change}; {one.best.given or 'defaults'}")
    return lines


def _price(tuned: Sequence[Tuned]) -> str:
    """A sentence for the report of the tuned study, whose own figures do not hold this price."""
    cheapest = min(one.flops / one.runs for one in tuned)
    trials, flops = max(one.trials for one in tuned), sum(one.flops for one in tuned)
    return (
        f"Every sampler as the best of {trials} trials on validation; choosing cost {flops:.3g} FLOPs, as much as "
        f"{flops / cheapest:.0f} of the cheapest arm's runs, and is in none of the figures."
    )


def write_tuned(study: Study, tuned: Sequence[Tuned], folder: Path, command: str) -> Path:
    """The study with every arm as tuned, as YAML that `bench` takes; its head says what the tuning cost. Returns its path."""
    head = [
        f"{study.name}, every sampler as tuned by: {command}",
        "By validation accuracy at the last step, on seeds of their own.",
    ]
    body = study.model_dump(mode="json", exclude={"name"}) | {
        "about": f"{study.about} {_price(tuned)}".strip(),
        "samplers": {one.best.label: _entry(one.best) for one in tuned},
        "scenarios": {scenario.label: _entry(scenario) for scenario in study.scenarios},
    }
    path = folder / f"{study.name}-tuned.yaml"
    text = "".join(f"# {line}\n" for line in (*head, *in_words(tuned)))
    records.write_text(path, text + "\n" + yaml.safe_dump(body, sort_keys=False))
    return path


def _entry(plugin: Plugin) -> dict[str, Any]:
    """As a study writes it: what is not at its default, the plug-in's own settings among the rest."""
    entry = plugin.model_dump(mode="json", exclude={"label", "given", "learner"}, exclude_defaults=True) | plugin.given
    if plugin.learner is not None:
        entry["learner"] = {"kind": plugin.learner.kind, **plugin.learner.given}
    return entry
