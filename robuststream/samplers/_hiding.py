"""What methods share that hide examples for an epoch: who is visible, and what the diagnostics may ask."""

from __future__ import annotations

import torch
from torch import Tensor

from robuststream.contracts import Sampler


class Hiding(Sampler):
    """`loss_` (N,) when last seen and `hidden_` (m,) indices are set in `start`; a subclass says at each border who is hidden."""

    loss_: Tensor
    hidden_: Tensor

    def visible(self) -> Tensor:
        """(N,) bool."""
        return torch.ones(self.pool.size, dtype=torch.bool, device=self.hidden_.device).index_fill_(0, self.hidden_, False)

    def stored_values(self) -> Tensor:
        return self.loss_

    def draw_probability(self) -> Tensor:
        visible = self.visible().double()
        return visible / visible.sum()

    def counters(self) -> dict[str, Tensor | int]:
        return {"hidden_at_end": len(self.hidden_)}
