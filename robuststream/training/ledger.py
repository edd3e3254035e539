"""The ledger: one budget, charged in full (rule 2). Every pass through the network is counted by the network's own wrapper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry

from robuststream.config import Budget
from robuststream.dispatch import Watching
from robuststream.training.clock import Clock
from robuststream.training.precision import Precise
from robuststream.training.team import Team

KINDS = ("train", "probe", "perturb")


@dataclass(frozen=True)
class Cost:
    """FLOPs per example of one network, counted once. A backward pass may go to the weights, to the images, or to both."""

    forward: float
    backward: float  # to the weights, as training does
    to_images: float = 0.0  # to the images alone, as an attack does
    to_both: float = 0.0

    @staticmethod
    def of(network: nn.Module, images: Tensor) -> Cost:
        """Count a forward and backward of (m, C, H, W) images. Run on a throw-away copy: its buffers and generators move."""
        forward = _flops(network, images, None)
        backward = _flops(network, images, []) - forward
        leaf = images.clone().requires_grad_()
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        return Cost(forward, backward, _flops(network, leaf, weights) - forward, _flops(network, leaf, []) - forward)


def _flops(network: nn.Module, images: Tensor, frozen: Sequence[nn.Parameter] | None) -> float:
    """Per example of a forward pass and, unless `frozen` is None, of a backward pass to every leaf but the frozen ones."""
    for weight in frozen or ():
        weight.requires_grad_(False)
    with _Counter() as counter:
        output = network(images)
        if frozen is not None:
            output.sum().backward()
    for weight in frozen or ():
        weight.requires_grad_(True)
    return counter.flops / len(images)


class _Counter(Watching):
    """Adds up FLOPs by torch's own formulas, as its FlopCounterMode does in sum; that one imports torch's compiler (seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


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
        self.to_images = 0  # of these backwards, those to the images alone
        self.to_both = 0  # and those to the weights and the images
        self.steps = 0
        self.auxiliary = Auxiliary()

    @property
    def flops(self) -> float:
        cost, to_weights = self.cost, self.backwards - self.to_images - self.to_both
        own = sum(self.forwards.values()) * cost.forward + to_weights * cost.backward
        return own + self.to_images * cost.to_images + self.to_both * cost.to_both + self.auxiliary.flops

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

    def charge(self, kind: str, examples: int, backward: bool, images_too: bool = False) -> None:
        """A forward pass, and the backward pass that it was recorded for: a perturbation's goes to the images alone."""
        self.forwards[kind] += examples
        if backward:
            self.backwards += examples
            if kind == "perturb":
                self.to_images += examples
            elif images_too:
                self.to_both += examples

    def totals(self) -> dict[str, Any]:
        """As a result records them."""
        return {
            "steps": self.steps,
            "forwards": dict(self.forwards),
            "backwards": self.backwards,
            "backwards_to_images": self.to_images,
            "backwards_to_both": self.to_both,
            "auxiliary": asdict(self.auxiliary),
            "flops": self.flops,
            "flops_per_forward": self.cost.forward,
            "flops_per_backward": self.cost.backward,
            "flops_per_backward_to_images": self.cost.to_images,
            "flops_per_backward_to_both": self.cost.to_both,
            "budget_flops": self.budget_flops,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "forwards": dict(self.forwards),
            "backwards": self.backwards,
            "to_images": self.to_images,
            "to_both": self.to_both,
            "steps": self.steps,
            "auxiliary": asdict(self.auxiliary),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.forwards, self.backwards, self.steps = dict(state["forwards"]), state["backwards"], state["steps"]
        self.to_images, self.to_both = state["to_images"], state["to_both"]
        self.auxiliary = Auxiliary(**state["auxiliary"])


class Metered(nn.Module):
    """The network as training, probes and scenarios meet it: whatever passes through is charged to the clock's open account."""

    def __init__(self, network: Precise, ledger: Ledger, clock: Clock, team: Team) -> None:
        super().__init__()
        self.network, self.ledger, self.clock, self.scale, self.team = network, ledger, clock, network.scale, team

    def forward(self, images: Tensor, ready: bool = False) -> Tensor:
        kind = self.clock.account if self.clock.account in KINDS else "train"
        # A probe is the same in every process of a team; all else is of a slice, and the others' are charged with it.
        examples = images.shape[0] * (1 if kind == "probe" else self.team.size)
        self.ledger.charge(kind, examples, backward=torch.is_grad_enabled(), images_too=images.requires_grad)
        return self.network(images, ready)
