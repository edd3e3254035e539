"""The ledger: one budget, charged in full (rule 2). Every pass through the network is counted by the network's own wrapper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robuststream.config import Budget
from robuststream.training.clock import Clock
from robuststream.training.precision import Precise
from robuststream.training.team import Team

KINDS = ("train", "probe", "perturb")


@dataclass(frozen=True)
class Cost:
    """FLOPs per example of one network, counted once."""

    forward: float
    backward: float

    @staticmethod
    def of(network: nn.Module, images: Tensor) -> Cost:
        """Count a forward and backward of (m, C, H, W) images. Run on a throw-away copy: its buffers and generators move."""
        counts = []
        for with_backward in (False, True):
            with FlopCounterMode(display=False) as counter:
                output = network(images)
                if with_backward:
                    output.sum().backward()
            counts.append(counter.get_total_flops() / len(images))
        return Cost(forward=counts[0], backward=counts[1] - counts[0])


@dataclass
class Auxiliary:
    """What a sampler's companion networks have cost: examples forwards and backwards through them, at their own prices."""

    forwards: int = 0
    backwards: int = 0
    flops: float = 0.0

    def charge(self, cost: Cost, examples: int, backward: bool) -> None:
        self.forwards += examples
        self.backwards += examples if backward else 0
        self.flops += examples * (cost.forward + (cost.backward if backward else 0.0))


class Ledger:
    """What a run has spent: forwards by kind, backwards (both in examples) and steps, against its budget."""

    def __init__(self, budget: Budget, cost: Cost, pool_size: int, training_seconds: Callable[[], float]) -> None:
        self.budget, self.cost, self.training_seconds = budget, cost, training_seconds
        self.budget_flops = budget.amount * pool_size * (cost.forward + cost.backward) if budget.unit == "epochs" else None
        self.forwards: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.backwards = 0
        self.steps = 0
        self.auxiliary = Auxiliary()

    @property
    def flops(self) -> float:
        own = sum(self.forwards.values()) * self.cost.forward + self.backwards * self.cost.backward
        return own + self.auxiliary.flops

    @property
    def all_forwards(self) -> int:
        """Of every kind and every network, in examples."""
        return sum(self.forwards.values()) + self.auxiliary.forwards

    @property
    def all_backwards(self) -> int:
        return self.backwards + self.auxiliary.backwards

    @property
    def spent(self) -> float:
        """Share of the budget; the last step may carry it above 1."""
        if self.budget_flops is not None:
            return self.flops / self.budget_flops
        spent = {"steps": self.steps, "backwards": self.all_backwards, "seconds": self.training_seconds()}
        return spent[self.budget.unit] / self.budget.amount

    def charge(self, kind: str, examples: int, backward: bool) -> None:
        self.forwards[kind] += examples
        self.backwards += examples if backward else 0

    def totals(self) -> dict[str, Any]:
        """As a result records them."""
        return {
            "steps": self.steps,
            "forwards": dict(self.forwards),
            "backwards": self.backwards,
            "auxiliary": asdict(self.auxiliary),
            "flops": self.flops,
            "flops_per_forward": self.cost.forward,
            "flops_per_backward": self.cost.backward,
            "budget_flops": self.budget_flops,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "forwards": dict(self.forwards),
            "backwards": self.backwards,
            "steps": self.steps,
            "auxiliary": asdict(self.auxiliary),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.forwards, self.backwards, self.steps = dict(state["forwards"]), state["backwards"], state["steps"]
        self.auxiliary = Auxiliary(**state["auxiliary"])


class Metered(nn.Module):
    """The network as training, probes and scenarios meet it: whatever passes through is charged to the clock's open account."""

    def __init__(self, network: Precise, ledger: Ledger, clock: Clock, team: Team) -> None:
        super().__init__()
        self.network, self.ledger, self.clock, self.scale, self.team = network, ledger, clock, network.scale, team

    def forward(self, images: Tensor, ready: bool = False) -> Tensor:
        kind = self.clock.account if self.clock.account in KINDS else "train"
        # A probe is the same in every process of a team; all else is of a slice, and the others' are charged with it.
        examples = len(images) * (1 if kind == "probe" else self.team.size)
        self.ledger.charge(kind, examples, backward=torch.is_grad_enabled())
        return self.network(images, ready)
