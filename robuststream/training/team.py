"""One run in several processes: each learns from its slice of every mini-batch, and together they are one process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from robuststream.errors import UserError


class Team:
    """A process alone: the whole mini-batch is its own."""

    size = 1
    rank = 0

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
    back apart, gradients summed, and losses and logits gathered, so that every sampler sees the whole mini-batch. The result is
    that of one process, to rounding, for networks without dropout and batch statistics, which here are of a slice.
    """

    def __init__(self) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()

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
