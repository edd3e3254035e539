"""Every sampler's step beside the uniform step, and beside what its passes through the network must cost by the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.measure import Rules, Step, Timing, interleave
from loops import Loops, Task
from training_step import Ratio

from robuststream import registry
from robuststream.contracts import Sampler
from robuststream.samplers.kakurenbo import Kakurenbo
from robuststream.samplers.plb import PLB
from robuststream.samplers.selective_backprop import SelectiveBackprop

TOGETHER = 4  # samplers that take turns
EPOCH = 5  # steps of one: a block is an epoch, so that what a method does at its border is in it
UNIFORM, PROBE = "uniform", "one probe of a mini-batch"
SELECTIVE, AFTER = "selective-backprop, composer, keep 0.5", "plb, refresh post"
REUSING = "selective-backprop, composer-reusing, keep 0.5"
FEW = (UNIFORM, AFTER, SELECTIVE, REUSING)
"""Where time is short: those that pay for probes in different ways."""


@dataclass
class Counted:
    """Epochs of steps of one sampler, and what they put on the ledger."""

    loops: Loops
    step: Step
    epochs: int = 0
    probed: int = 0  # examples
    forwards: int = 0  # of those that are learned from
    backwards: int = 0
    auxiliary: float = 0.0  # FLOPs of companion networks

    def __call__(self) -> None:
        ledger = self.loops.world.ledger
        probed, forwards, backwards = ledger.forwards["probe"], ledger.forwards["train"], ledger.backwards
        auxiliary = ledger.auxiliary.flops
        for _ in range(EPOCH):
            self.step()
        self.loops.clear()
        self.loops.world.probe.asked.clear()
        self.epochs += 1
        self.probed += ledger.forwards["probe"] - probed
        self.forwards += ledger.forwards["train"] - forwards
        self.backwards += ledger.backwards - backwards
        self.auxiliary += ledger.auxiliary.flops - auxiliary


@dataclass(frozen=True)
class Charged:
    """A sampler's epoch over the uniform epoch: as timed, and as charged."""

    timed: Ratio
    charged: float

    @property
    def gap(self) -> float:
        """Timed / charged, less 1: what a method costs that no ledger sees."""
        return self.timed.value / self.charged - 1.0


@dataclass
class Ledgers:
    """One task's samplers; `refused` where the uniform step or the probe could not be timed."""

    task: Task
    samplers: dict[str, Charged] = field(default_factory=dict)
    refused: str = ""


def every_sampler() -> dict[str, Sampler]:
    """All that are registered, with their defaults, and the forms whose passes differ.

    KAKURENBO without its threshold: nothing is learned here, and so nothing would be confident enough to be hidden.
    """
    plain = {name: registry.load("samplers", name, Sampler)() for name in registry.names("samplers")}
    return {
        **plain,
        "kakurenbo": Kakurenbo(threshold=0.0),
        AFTER: PLB(refresh="post"),
        SELECTIVE: selective("composer"),
        REUSING: selective("composer-reusing"),
    }


def selective(variant: str) -> Sampler:
    """Half of the candidates at every step, by a second forward pass over them or from the activations of the first."""
    return SelectiveBackprop(variant=variant, keep=0.5, active_from=0.0, active_until=1.0, interrupt=0)


def compare(task: Task, folder: Path, rules: Rules, few: bool = False) -> Ledgers:
    """All samplers on one network, a few in turn with the uniform step and the probe, since a machine drifts within the time that
    all of them would take; a forward pass without gradient costs what a probe takes here and now."""
    loops, samplers = Loops(task, folder), every_sampler()
    names = [name for name in (FEW if few else samplers) if name != UNIFORM]
    found: dict[str, Charged] = {}
    for first in range(0, len(names), TOGETHER):
        counted = {name: Counted(loops, loops.ours(samplers[name])) for name in (UNIFORM, *names[first : first + TOGETHER])}
        timings = interleave({**counted, PROBE: loops.probe()}, rules)
        uniform, probe = timings[UNIFORM], timings[PROBE]
        if uniform.refused or probe.refused:
            return Ledgers(task, refused=uniform.refused or probe.refused)
        forward = probe.median / (uniform.median / EPOCH)  # in uniform steps
        found |= {name: _charged(each, timings[name], uniform, forward) for name, each in counted.items()}
    return Ledgers(task, found)


def _charged(counted: Counted, timing: Timing, uniform: Timing, forward: float) -> Charged:
    examples = EPOCH * counted.epochs * counted.loops.task.batch
    cost = counted.loops.world.ledger.cost
    # A forward with its backward is one uniform step whatever a forward costs: to the last digit.
    spent = counted.backwards + (counted.probed + counted.forwards - counted.backwards) * forward
    spent += counted.auxiliary / (cost.forward + cost.backward)
    return Charged(Ratio.of(timing, uniform), spent / examples)
