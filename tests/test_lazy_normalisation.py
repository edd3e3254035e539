"""LB, NLB and OWC never touch all N probabilities in a step; yet they hold, step by step, what the slides' algorithm holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robuststream import registry
from robuststream.contracts import Pool, Sampler, Signals

SIZE, BATCH, STEPS = 300, 16, 3000


class Losses:
    """A network whose losses fall by six decades and rise again, with an example in twenty at exactly zero."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.looks = 0

    def __call__(self, index: torch.Tensor, mode: Any = None) -> Signals:
        self.looks += 1
        scale = 10.0 ** (-6 * abs(np.sin(self.looks / 300)))
        loss = torch.empty(len(index)).exponential_(1.0, generator=self.generator) * scale
        loss[torch.rand(len(index), generator=self.generator) < 0.05] = 0.0
        labels = torch.randint(0, 2, (len(index),), generator=self.generator)
        return Signals.of(index, labels, torch.tensor([[1.0, 0.0]]).expand(len(index), 2), loss)


def literal_step(p: np.ndarray, name: str, norm: str, signals: Signals) -> np.ndarray:
    """Lines 6 and 7 of the slides' algorithm on all N, in float64; of a repeat the largest value counts."""
    p = p.copy()
    index, loss = signals.index.numpy(), signals.loss.double().numpy()
    if name == "owc":
        for i in set(index[~signals.correct.numpy()].tolist()):
            p[i] += 1.0 / SIZE
        return p / p.sum()
    values = {i: max(loss[index == i]) for i in set(index.tolist())}
    new = {i: np.tanh(value) if name == "nlb" else value for i, value in values.items()}
    total = sum(new.values())
    for i, value in new.items():
        p[i] = value / total if norm == "within_batch" and total > 0 else value
    return p / p.sum() if p.sum() > 0 else p


@pytest.mark.parametrize(
    ("name", "norm"), [("lb", "literal"), ("lb", "within_batch"), ("nlb", "literal"), ("nlb", "within_batch"), ("owc", "")]
)
def test_thousands_of_steps_equal_the_literal_algorithm(name: str, norm: str) -> None:
    sampler: Sampler = registry.load("samplers", name, Sampler)(**({"norm": norm} if norm else {}))
    losses, dice = Losses(), torch.Generator().manual_seed(7)
    sampler.start(Pool(SIZE, BATCH, 2, torch.zeros(SIZE, dtype=torch.int64), seed=7), losses)
    p = np.full(SIZE, 1.0 / SIZE)
    if name != "owc":
        twin = Losses()
        first = twin(torch.arange(SIZE)).loss.double().numpy()
        p = np.tanh(first) if name == "nlb" else first
        p = p / p.sum()
    for step in range(STEPS):
        drawn = sampler.draw(losses, 0.0).index
        reach = (1.0 - torch.rand(1, BATCH, generator=dice, dtype=torch.float64)).numpy().ravel()
        running = np.cumsum(p)
        expected = np.searchsorted(running, reach * running[-1]) if running[-1] > 0 else np.floor((1 - reach) * SIZE)
        assert drawn.tolist() == expected.astype(int).tolist(), f"step {step}"
        signals = losses(drawn)
        sampler.observe(signals)
        p = literal_step(p, name, norm, signals)
        if step % 50 == 0 and p.sum() > 0:
            kept = p > 1e-120  # what is smaller may count as zero: float64 has no more room once it is scaled
            np.testing.assert_allclose(sampler.draw_probability().numpy()[kept], p[kept], rtol=1e-9)
