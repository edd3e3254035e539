"""One run in several processes: each learns from its slice of every mini-batch, and together they are one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robuststream.contracts import Batch
from robuststream.errors import UserError


class Team:
    """A process alone: the whole mini-batch is its own."""

    size = 1
    rank = 0

    def agreed(self, batch: Batch) -> Batch:
        """The first process's, for all."""
        return batch

    def mine(self, batch: Tensor) -> Tensor:
        """This process's slice of (n, ...)."""
        return batch

    def gather(self, part: Tensor) -> Tensor:
        """The (n, ...) of all processes, in order, from everyone's slice."""
        return part

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Every gradient becomes the sum of everyone's."""


class Processes(Team):
    """The processes of `torch.distributed`, initialised before.

    Everyone holds the same network, sampler and generators and draws the same mini-batch; slices are forwarded and propagated
    back apart, gradients summed, losses and logits gathered, so that every sampler sees the whole mini-batch, and so do batch
    norms. The result is that of one process, to rounding, for networks without dropout.
    """

    def __init__(self) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()

    def agreed(self, batch: Batch) -> Batch:
        """GPUs add up in other orders: one process's probe may choose otherwise than another's, and nothing would tell."""
        for part in (batch.index, batch.weight):
            if part is not None:
                dist.broadcast(part, 0)
        return batch

    def mine(self, batch: Tensor) -> Tensor:
        if len(batch) % self.size:
            raise UserError(
                f"a mini-batch of {len(batch)} examples is not possible with {self.size} processes (a multiple of it)"
            )
        return batch.chunk(self.size)[self.rank]

    def gather(self, part: Tensor) -> Tensor:
        whole = part.new_empty((len(part) * self.size, *part.shape[1:]))
        dist.all_gather(list(whole.chunk(self.size)), part.contiguous())
        return whole

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """In one message, from a flat copy: many small ones would each wait."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(total.view(gradient.shape))


def share_statistics(network: nn.Module, team: Team, compiled: bool) -> None:
    """Batch norms of a team's network see the mini-batches of all its processes."""
    if team.size > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedNorm  # its weights, buffers and place stay, whoever holds it
                if compiled:  # messages cannot be traced; to say so imports the compiler, which takes seconds
                    module.forward = torch.compiler.disable(module.forward)  # pyright: ignore[reportAttributeAccessIssue]


class _SharedNorm(nn.BatchNorm2d):
    """Training passes are normalised by the statistics of all processes' slices. A probe is of the whole mini-batch already.

    torch's own (SyncBatchNorm) is for GPUs alone.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(input)
        x = input.float()
        size = dist.get_world_size()
        mean = _Sum.apply(x.mean((0, 2, 3))) / size
        centred = x - mean[:, None, None]
        variance = _Sum.apply((centred * centred).mean((0, 2, 3))) / size
        self._follow(mean.detach(), variance.detach(), size * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, n: int) -> None:
        """Move the running statistics, as torch does, towards those of n values."""
        assert self.momentum is not None
        for running, now in ((self.running_mean, mean), (self.running_var, variance * (n / (n - 1)))):
            assert running is not None
            running.lerp_(now, self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """Over all processes, and so is its gradient: everyone's loss depends on everyone's part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        whole = part.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole
