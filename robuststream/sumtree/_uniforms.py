"""The numbers of torch.rand, of which a draw of many takes a million: there they would cost more than the walk that they lead."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

STATE = 5056
"""Bytes of the state of torch's CPU generator, a Mersenne Twister."""
MANY = 1024
"""How many it pays to make in C: a generator's state is taken and given back in the time of some 500 numbers of torch."""


class Uniforms:
    """(layers, n) float64 numbers in [0, 1), as `torch.rand(layers, n, generator=generator)` gives; not one differs.

    A torch that keeps a generator's state otherwise, or makes other numbers of it, is found out here and left alone.
    """

    def __init__(self, library: ctypes.CDLL, layers: int) -> None:
        self._fill, self._layers = library.sumtree_uniform, layers
        self._numbers = torch.empty(layers, 0, dtype=torch.float64)
        self._many = MANY if self._same_as_torch() else None

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """n for each layer. The next call may write over them: memory is taken once, for new memory costs more than numbers."""
        if self._numbers.shape[1] != n:
            with torch.inference_mode(False):  # whoever is the first to draw
                self._numbers = torch.empty(self._layers, n, dtype=torch.float64)
        numbers = self._numbers
        if self._many is None or n * self._layers < self._many or generator.device.type != "cpu":
            return numbers.uniform_(generator=generator)
        self._make(numbers, generator)
        return numbers

    def _make(self, numbers: Tensor, generator: torch.Generator) -> None:
        state = generator.get_state()
        self._fill(state.data_ptr(), numbers.numel(), numbers.data_ptr())
        generator.set_state(state)

    def _same_as_torch(self) -> bool:
        """Whether both make the same numbers and leave the same state, from the beginning, middle and end of one."""
        theirs, ours = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
        if theirs.get_state().numel() != STATE:
            return False
        for count in (1, 310, 1000):
            numbers = torch.empty(count, dtype=torch.float64)
            self._make(numbers, ours)
            if not torch.equal(numbers, torch.rand(count, generator=theirs, dtype=torch.float64)):
                return False
            for each in (theirs, ours):
                torch.rand(1, generator=each)  # one word of two
        return torch.equal(theirs.get_state(), ours.get_state())
