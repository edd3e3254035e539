"""The training loop: a step after the other until the budget is spent, and at due moments evaluate, record, save and stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robuststream import records
from robuststream.config import RunSettings
from robuststream.contracts import Split
from robuststream.training.checkpoint import Best, Checkpoints, Progress, pack, unpack
from robuststream.training.clock import OFF_CLOCK, PHASES
from robuststream.training.device import on_device
from robuststream.training.evaluation import score
from robuststream.training.guard import RulesBroken, untouched_globals
from robuststream.training.provenance import provenance
from robuststream.training.robustness import measure
from robuststream.training.step import take_step
from robuststream.training.streams import stream_seed
from robuststream.training.team import Team
from robuststream.training.world import build_world


@dataclass(frozen=True)
class Watch:
    """How a run is watched from outside: told of every evaluation, and asked after every step whether to stop."""

    evaluated: Callable[[dict[str, Any]], None] = lambda record: None
    stop: Callable[[], bool] = lambda: False


@dataclass
class Stopped(Exception):
    """The run was asked to stop; its checkpoint is written. Says what it had cost until then."""

    spent: float  # share of the budget
    training: float  # seconds on the clock
    evaluation: float  # seconds off it


def train(run: RunSettings, folder: Path, watch: Watch | None = None, team: Team | None = None) -> dict[str, Any]:
    """Execute one run in its folder, from its checkpoint where there is one, and write and return its result. With a `team`
    every process of it calls this, each with a folder of its own.

    Raises Stopped when `watch.stop()` says so, after saving; RulesBroken where a plug-in did.
    """
    who = f"sampler '{run.sampler.label}' or scenario '{run.scenario.label}'"
    try:
        with on_device(run.device), untouched_globals(who):
            result = _Run(run, folder, watch or Watch(), team).execute()
    except RulesBroken:
        Checkpoints(folder).remove()
        raise
    records.sync(folder / "records.jsonl")  # whoever sees a result sees all of its records
    records.write_json(folder / "result.json", result)
    Checkpoints(folder).remove()
    return result


class _Run:
    """A run under way: its world, and how far it has come."""

    def __init__(self, run: RunSettings, folder: Path, watch: Watch, team: Team | None = None) -> None:
        self.run, self.watch = run, watch
        self.world = build_world(run, team) if team else build_world(run)
        self.provenance = provenance(torch.device(run.device))
        weights = sum(value.nbytes for value in self.world.bare.state_dict().values())
        self.checkpoints = Checkpoints(folder, size=3 * weights)  # with the optimizer's momentum and the best ones
        self.progress = Progress()

    def execute(self) -> dict[str, Any]:
        """Train to the end of the budget and return the result."""
        world = self.world
        world.clock.to("draw")
        world.sampler.start(world.pool, world.probe)
        world.learner.start(world.pool, world.probe)
        self._resume()
        world.network.train()
        while world.ledger.spent < 1.0:
            self._between_steps()
            take_step(world, self.run.recipe)
        return self._result(last=self._evaluate())

    def _resume(self) -> None:
        state = self.checkpoints.load()
        if state is not None:
            self.progress = unpack(state, self.world)

    def _between_steps(self) -> None:
        """Evaluate where it is due; save and stop where that was asked."""
        clock, ledger = self.world.clock, self.world.ledger
        if ledger.spent >= self.progress.due / self.run.recipe.evaluations:
            self._evaluate()
            clock.to("checkpoint")
            self.checkpoints.save_if_due(lambda: pack(self.world, self.progress))
        if self.watch.stop():
            clock.to("checkpoint")
            self.checkpoints.save(pack(self.world, self.progress))
            raise Stopped(ledger.spent, clock.training, clock.seconds["evaluation"])

    def _evaluate(self) -> dict[str, Any]:
        """Validation accuracy and the diagnostics, as one record; the best weights are kept. Off the clock."""
        world, clock, ledger, progress = self.world, self.world.clock, self.world.ledger, self.progress
        clock.to("evaluation")
        accuracy, loss = score(world.bare, world.validation, self.run.recipe.views)
        middle = self.run.recipe.evaluations // 2
        at_histogram = progress.histograms == 0 or (progress.histograms == 1 and progress.due >= middle) or ledger.spent >= 1.0
        record = {
            "step": ledger.steps,
            "spent": ledger.spent,
            "forwards": ledger.all_forwards,
            "backwards": ledger.all_backwards,
            "flops": ledger.flops,
            **({"auxiliary_flops": ledger.auxiliary.flops} if ledger.auxiliary.flops else {}),
            "seconds": clock.training,
            "lr": world.optimizer.param_groups[0]["lr"],
            "validation_accuracy": accuracy,
            "validation_loss": loss if math.isfinite(loss) else None,
            **({"lag": world.draws.mean_lag()} if self.run.recipe.lookahead else {}),
            **world.diagnostics.measure(world.bare, ledger.steps, at_histogram),
        }
        records.append_record(self.checkpoints.records, record)
        progress.written += 1
        progress.histograms += "histogram" in record
        progress.diverged |= record["validation_loss"] is None
        # A long probe may have carried the run past several due moments: they are one evaluation.
        progress.due = int(ledger.spent * self.run.recipe.evaluations) + 1
        if progress.best is None or accuracy > progress.best.validation_accuracy:
            weights = {name: value.clone() for name, value in world.bare.state_dict().items()}
            progress.best = Best(ledger.steps, ledger.spent, accuracy, weights)
        self.watch.evaluated(record)
        return record

    def _result(self, last: dict[str, Any]) -> dict[str, Any]:
        """The run's result, with the only reading of the test set."""
        world, best = self.world, self.progress.best
        assert best is not None
        now = {name: value.clone() for name, value in world.bare.state_dict().items()}
        world.clock.to("checkpoint")
        self.checkpoints.keep_network(now)
        world.clock.to("evaluation")
        under_attack: dict[str, Any] = {}
        several = [now] if best.step == world.ledger.steps else [now, best.weights]
        at_last, *others = world.test.read(
            world.bare, several, world.scenario, lambda test: under_attack.update(self._under_attack(test))
        )
        at_best = others[0] if others else at_last
        world.clock.to("checkpoint")
        seconds = world.clock.seconds
        return {
            "rules": self.run.rules,
            "diverged": self.progress.diverged,
            "last": {
                "validation_accuracy": last["validation_accuracy"],
                "test_accuracy": at_last.accuracy,
                "test_per_class": at_last.per_class,
            },
            "best": {
                "step": best.step,
                "spent": best.spent,
                "validation_accuracy": best.validation_accuracy,
                "test_accuracy": at_best.accuracy,
            },
            "totals": world.ledger.totals(),
            "seconds": {
                "train": world.clock.training,
                "phases": {phase: seconds[phase] for phase in PHASES},
                **{account: seconds[account] for account in OFF_CLOCK},
            },
            **world.facts,
            "counters": {name: int(count) for name, count in world.sampler.counters().items()},
            "scenario": at_last.figures,
            **under_attack,
            "provenance": self.provenance,
        }

    def _under_attack(self, test: Split) -> dict[str, Any]:
        """Robust accuracy of the network as it is, where the recipe asks for it."""
        world, robust = self.world, self.run.recipe.robust
        if robust is None:
            return {}
        world.clock.to("attack")
        found = measure(world.bare, test, robust, stream_seed(self.run.seed, "attack"))
        world.clock.to("evaluation")
        return {"robust": [found]}
