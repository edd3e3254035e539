"""Means against staleness: who has not been looked at for longest, and logits carried along with the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robuststream.contracts import LOSS_CEILING, Pool, Signals

PER_EPOCH = 10
"""How often an epoch stored values are freshened, all at once: what costs O(N) is then spread over a tenth of an epoch."""
RIDGE = 10.0
"""Examples' worth of evidence that nothing has changed, in the fit of a map."""


def period(pool: Pool) -> int:
    """Steps between two freshenings."""
    return max(1, pool.size // (pool.batch_size * PER_EPOCH))


class Ages:
    """When each example was last seen. Those never seen stand in random order, so a pool sorted by class is not swept so."""

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.seen = -torch.randperm(size, generator=generator, device=generator.device)  # (N,) int64, by the count of `saw`
        self.count = 0

    def saw(self, index: Tensor) -> None:
        """These (m,) were seen now."""
        self.count += 1
        self.seen.index_fill_(0, index, self.count)  # an assignment would copy the number to the device, and wait

    def oldest(self, k: int) -> Tensor:
        """(k,) int64: those unseen for longest, the lower index first among equals."""
        return self.seen.argsort(stable=True)[:k]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen.clone(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.count = state["seen"].to(self.seen.device, copy=True), state["count"]


class CarriedLogits:
    """A belief of every example's logits now, moved along with the network at no forward pass.

    While the network learns, most of what changes in its answers is common to many examples: classes rise and fall, all become
    surer. That part shows in the examples that were seen: between what was believed of them and what they turned out to be a
    ridge regression is fitted, from the believed logits and the observed label to the change, and applied to all N. Those that
    were seen are then set to what was seen. Memory: 4 N K bytes. Time: O(N K^2) at each `carry`.

    Ours. It is the predict and update of a Kalman filter, with a linear map for the dynamics and no covariances.
    """

    def __init__(self, pool: Pool) -> None:
        self.labels, self.classes = pool.labels, pool.num_classes
        self.logits = torch.zeros(pool.size, pool.num_classes, device=pool.labels.device)  # (N, K), each row of mean 0
        self.window: list[tuple[Tensor, Tensor]] = []  # (m,) indices and (m, K) logits seen since the last carry, in order

    def saw(self, signals: Signals) -> None:
        """Keeps references only."""
        self.window.append((signals.index, signals.logits))

    def carry(self) -> Signals:
        """Move all to now, and give the believed signals of the whole pool, in index order."""
        index, seen = (torch.cat(parts) for parts in zip(*self.window, strict=True))
        self.window.clear()
        seen = seen - seen.mean(1, keepdim=True)
        move = self._fit(index, seen)
        self.logits = (self.logits + self._features(self.logits, self.labels) @ move).clamp(-LOSS_CEILING, LOSS_CEILING)
        self._set(index, seen)
        return self._everyone()

    def begin(self, signals: Signals) -> None:
        """From a look at the whole pool, in index order."""
        logits = signals.logits
        self.logits = logits - logits.mean(1, keepdim=True)

    def _fit(self, index: Tensor, seen: Tensor) -> Tensor:
        """(2K, K): the map from features to change that the seen examples speak for."""
        believed = self.logits[index]
        features = self._features(believed, self.labels[index]).double()
        gram = features.T @ features + RIDGE * torch.eye(features.shape[1], dtype=torch.float64, device=features.device)
        # solve_ex: the plain one reads back from the device whether it worked; the ridge sees to that.
        return torch.linalg.solve_ex(gram, features.T @ (seen - believed).double())[0].float()

    def _features(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(m, 2K): the logits and the observed label."""
        return torch.cat([logits, torch.nn.functional.one_hot(labels, self.classes).float()], 1)

    def _set(self, index: Tensor, seen: Tensor) -> None:
        """Write what was seen; of an example seen twice the later look, on every device."""
        place = torch.arange(len(index), device=index.device)
        last = torch.zeros(len(self.labels), dtype=torch.int64, device=index.device)
        last.scatter_reduce_(0, index, place, "amax", include_self=False)
        self.logits[index] = seen[last[index]]

    def _everyone(self) -> Signals:
        return Signals.of(torch.arange(len(self.labels), device=self.labels.device), self.labels, self.logits)

    def state_dict(self) -> dict[str, Any]:
        return {"logits": self.logits.clone(), "window": [(index.clone(), logits.clone()) for index, logits in self.window]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.labels.device
        self.logits = state["logits"].to(device, copy=True)
        self.window = [(index.to(device, copy=True), logits.to(device, copy=True)) for index, logits in state["window"]]
