"""What is learned next, drawn as many steps ahead as the recipe says, so that data on disk can be read meanwhile."""

from __future__ import annotations

from collections import deque
from typing import Any

from robuststream.contracts import Batch, Probe, Sampler
from robuststream.data.stored import AnyBatches
from robuststream.errors import UserError


class Draws:
    """Mini-batches in the order in which they were drawn.

    With `lookahead` L a mini-batch is learned L steps after its draw: the sampler has not yet seen what the L steps between
    revealed. That lag is recorded, and 0 is the default.
    """

    def __init__(self, train: AnyBatches, lookahead: int) -> None:
        self.train, self.lookahead = train, lookahead
        self._waiting: deque[tuple[int, Batch]] = deque()  # (step of the draw, what was drawn)
        self._steps = 0
        self._lags: list[int] = []  # since it was last asked

    def next(self, sampler: Sampler, probe: Probe, spent: float) -> Batch:
        """What the step that is due learns from. Raises UserError for a sampler that draws nothing."""
        while len(self._waiting) <= self.lookahead:
            batch = sampler.draw(probe, spent)
            if not batch.index.shape[0]:
                raise UserError(f"{type(sampler).__name__} drew an empty mini-batch; a draw is at least one index")
            if self.lookahead:
                self.train.ahead(batch.index)
            self._waiting.append((self._steps, batch))
        drawn, batch = self._waiting.popleft()
        if self.lookahead:
            self._lags.append(self._steps - drawn)
        self._steps += 1
        return batch

    def mean_lag(self) -> float | None:
        """Mean steps between draw and learning, since this was last asked; None where nothing was learned."""
        lags, self._lags = self._lags, []
        return sum(lags) / len(lags) if lags else None

    def state_dict(self) -> dict[str, Any]:
        waiting = [(drawn, batch.index, batch.weight, batch.lr_scale) for drawn, batch in self._waiting]
        return {"steps": self._steps, "lags": list(self._lags), "waiting": waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps, self._lags = state["steps"], list(state["lags"])
        self._waiting = deque((drawn, Batch(index, weight, lr_scale)) for drawn, index, weight, lr_scale in state["waiting"])
        for _, batch in self._waiting:
            self.train.ahead(batch.index)
