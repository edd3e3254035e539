"""Every sampler beside its NumPy twin: the same draws, questions, tables and learning rates, step by step."""

from __future__ import annotations

import io
import itertools
import operator
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from robuststream import registry
from robuststream.contracts import Sampler
from twins import CASES, TWINS, Case, title
from twins._shared import Twin
from twins._world import FakeNetwork, Net, TorchDice, TwinNet, pool_of

SEED = 11
SHAPES = [(103, 8, 320), (48, 16, 120), (13, 13, 60)]
"""(N, n, steps): N not a multiple of n; a multiple; one mini-batch as large as the pool."""

SLACK = {"carry": 300.0}
"""Carried logits are float32 and moved by a fit at every step: their rounding adds up, the twin's does not."""
ROUNDED = {"temper", "clip", "refresh_oldest"}
"""A root magnifies the rounding of a small loss; a cut to a mean and many writes a step pass it on to other values."""


class Pair:
    """A sampler and its twin, in the same world, one step at a time."""

    def __init__(self, case: Case, size: int, batch_size: int) -> None:
        name, settings = case
        network = FakeNetwork(size)
        self.slack = SLACK.get(settings.get("refresh", ""), 20.0 if ROUNDED & set(settings) else 1.0)
        self.net, self.twin_net = Net(network), TwinNet(network)
        self.dice = TorchDice(SEED)
        self.sampler: Sampler = registry.load("samplers", name, Sampler)(**settings)
        self.twin: Twin = TWINS[name](size, batch_size, self.dice, **settings)
        self.sampler.start(pool_of(network, batch_size, SEED), self.net.probe)

    def step(self, progress: float) -> list[int]:
        batch = self.sampler.draw(self.net.probe, progress)
        drawn = self.twin.draw(self.twin_net.probe, progress)
        assert self.net.asked == self.twin_net.asked
        assert batch.index.tolist() == drawn
        same("weight", batch.weight, self.twin.weight, self.twin.precision, self.slack)
        assert batch.lr_scale == self.twin.lr_scale
        self.sampler.observe(self.net.train(batch.index))
        self.twin.observe(self.twin_net.train(drawn))
        self.net.asked.clear()
        self.twin_net.asked.clear()
        return drawn

    def steps(self, count: int) -> list[list[int]]:
        """(step -> drawn indices), with progress from 0 to 1."""
        return [self.step(at / count) for at in range(count)]

    def compare_tables(self) -> None:
        bounds = self.twin.precision, self.slack
        same("stored_values", self.sampler.stored_values(), self.twin.stored_values(), *bounds)
        same("draw_probability", self.sampler.draw_probability(), self.twin.probability(), *bounds)
        for name, table in self.twin.tables().items():
            same(name, operator.attrgetter(name)(self.sampler), table, *bounds, unit=3.0)


def same(
    what: str,
    ours: torch.Tensor | bool | float | None,
    theirs: Any,
    precision: float = 2e-5,
    slack: float = 1.0,
    unit: float = 0.0,
) -> None:
    """Equal but for float32: a loss lacks the last digits of the largest logit, however small it is (the twin's are float64)."""
    if ours is None or theirs is None:
        assert ours is theirs, what
        return
    expected = np.asarray(theirs, dtype=np.float64)
    largest = np.max(expected, initial=unit, where=np.isfinite(expected))
    actual = np.asarray(ours, dtype=np.float64)
    np.testing.assert_allclose(actual, expected, rtol=precision * slack, atol=3e-7 * slack * largest, err_msg=what)


@pytest.mark.parametrize(("size", "batch_size", "steps"), SHAPES, ids=lambda shape: str(shape))
@pytest.mark.parametrize("case", CASES, ids=title)
def test_sampler_is_its_twin(case: Case, size: int, batch_size: int, steps: int) -> None:
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    pair = Pair(case, size, batch_size)
    for step in range(steps):
        pair.step(progress=step / steps)
        pair.compare_tables()
    assert torch.equal(pair.sampler.generator_.get_state(), pair.dice.generator.get_state())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_the_world_is_eventful() -> None:
    """What the comparison above rests on does happen: repeats, full histories, hidden and moved back examples."""
    plb = Pair(("plb", {"warmup_epochs": 0}), 103, 8)
    assert sum(len(set(drawn)) < 8 for drawn in plb.steps(320)) > 50
    selective = Pair(("selective-backprop", {"history": 20}), 103, 8)
    selective.steps(50)
    assert len(selective.twin.tables()["history_"]) == 20
    assert not np.isnan(selective.twin.tables()["history_"]).any()
    composer = Pair(("selective-backprop", {"variant": "composer"}), 103, 8)
    assert Counter(map(len, composer.steps(100))) == {8: 80, 4: 20}
    for quirks, threshold in ((False, 0.7), (True, 0.3)):
        kakurenbo = Pair(("kakurenbo", {"official_quirks": quirks, "threshold": threshold}), 103, 8)
        hidden = [set(kakurenbo.twin.tables()["hidden_"]) for _ in range(320) if kakurenbo.step(0.0)]
        assert max(map(len, hidden)) > 10
        assert any(before - after for before, after in itertools.pairwise(hidden))


@pytest.mark.parametrize("saved_at", [20, 60])
@pytest.mark.parametrize("case", CASES, ids=title)
def test_a_saved_state_continues_bit_for_bit(case: Case, saved_at: int) -> None:
    """Steps 20 and 60 of 120 are amid an epoch of 103 examples; the first is in the warm-up of two epochs."""
    first, second = Pair(case, 103, 8), Pair(case, 103, 8)
    run(first, range(saved_at))
    file, passes = io.BytesIO(), first.net.passes
    torch.save(first.sampler.state_dict(), file)
    expected = run(first, range(saved_at, 120))
    file.seek(0)
    second.sampler.load_state_dict(torch.load(file, weights_only=True))
    second.net.passes = passes
    assert run(second, range(saved_at, 120)) == expected


def run(pair: Pair, steps: range) -> list[Any]:
    """The sampler without its twin: all that it drew, asked and stored."""
    trace: list[Any] = []
    for step in steps:
        batch = pair.sampler.draw(pair.net.probe, step / 120)
        pair.sampler.observe(pair.net.train(batch.index))
        values = pair.sampler.stored_values()
        tables = [None if table is None else table.numpy().tobytes() for table in (values, batch.weight)]
        trace.append((batch.index.tolist(), batch.lr_scale, *tables))
    trace.append(pair.net.asked[:])
    pair.net.asked.clear()
    return trace
