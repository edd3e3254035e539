"""Means against staleness and for stability, on worlds that a test dictates; number by number they are compared in test_twins."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from _runs import settings
from robuststream import registry
from robuststream.checks import run_checks
from robuststream.contracts import Pool, Sampler, Signals
from robuststream.samplers._freshness import Ages, CarriedLogits
from robuststream.training.loop import train
from test_sampler_statistics import assert_follows, counts, started
from twins._world import crafted

MEANS: list[tuple[str, dict[str, Any]]] = [
    ("plb", {"refresh": "carry", "refresh_oldest": 0.15}),
    ("plb", {"refresh": "post", "refresh_oldest": 0.5, "mix": 0.2}),
    ("nlb", {"refresh": "carry", "clip": 3, "correct": 0.5}),
    ("lb", {"refresh_oldest": 2, "temper": 2}),
    ("owc", {"refresh_oldest": 0.15, "clip": 2, "mix": 0.5, "correct": 1}),
]


@pytest.mark.parametrize(("name", "means"), MEANS, ids=str)
def test_every_means_keeps_the_contract(name: str, means: dict[str, Any]) -> None:
    """No host waits, bit-equal resumption, extreme losses, and the rest of `robuststream check`."""
    factory = functools.partial(registry.load("samplers", name, Sampler), **means)
    assert {result.name: result.message for result in run_checks(factory) if not result.passed} == {}


def test_the_longest_unseen_come_first_and_all_have_their_turn() -> None:
    ages = Ages(100, torch.Generator().manual_seed(0))
    first = ages.oldest(30)
    assert sorted(first.tolist()) != list(range(30))  # in random order at first
    ages.saw(first)
    second = ages.oldest(70)
    assert set(second.tolist()) == set(range(100)) - set(first.tolist())
    ages.saw(second)
    ages.saw(torch.tensor([5, 5, 6]))
    assert ages.oldest(98).tolist() == [i for part in (first, second) for i in sorted(part.tolist()) if i not in (5, 6)]


def drifting(size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, and logits before and after every class has moved in a way of its own and all have become surer."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (size,), generator=generator)
    before = torch.randn(size, classes, generator=generator)
    shift = torch.randn(classes, classes, generator=generator)
    after = 1.5 * before + shift[labels]
    return labels, before, after


def test_carried_logits_follow_a_common_drift_of_examples_that_were_not_seen() -> None:
    labels, before, after = drifting(2000, 4)
    carried = CarriedLogits(Pool(2000, 50, 4, labels, 0))
    everyone = torch.arange(2000)
    carried.begin(Signals.of(everyone, labels, before))
    seen = everyone[::2]
    carried.saw(Signals.of(seen, labels[seen], after[seen]))
    believed = carried.carry()
    truth = Signals.of(everyone, labels, after)
    unseen = everyone[1::2]
    error = (believed.loss - truth.loss)[unseen].abs().mean()
    stale = (Signals.of(everyone, labels, before).loss - truth.loss)[unseen].abs().mean()
    assert error < 0.05 * stale
    torch.testing.assert_close(believed.loss[seen], truth.loss[seen])


def test_of_two_looks_at_an_example_the_later_is_kept() -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    carried = CarriedLogits(Pool(4, 2, 2, labels, 0))
    carried.begin(Signals.of(torch.arange(4), labels, torch.zeros(4, 2)))
    for logits in ([[4.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]):
        index = torch.tensor([1, 1])
        carried.saw(Signals.of(index, labels[index], torch.tensor(logits)))
    assert carried.carry().logits[1].tolist() == [1.0, -1.0]


def test_the_oldest_cost_what_they_say() -> None:
    """k = 0.15 n more forwards a step: 5 % where a backward costs two forwards."""
    probe = crafted(torch.rand(320, generator=torch.Generator().manual_seed(2)) + 0.1)
    sampler = started("plb", 320, 8, probe, warmup_epochs=0, refresh_oldest=0.15)
    for _ in range(401):
        sampler.observe(probe.signals(sampler.draw(probe, 0.0).index))
    again = sum(map(len, probe.asked)) - 320
    assert again == pytest.approx(0.15 * 8 * 400, rel=0.05)
    # 1.2 a step are probed, so nobody waits longer than 320 / 1.2 steps; the count is of looks, 5 in 4 steps.
    assert int(sampler.ages_.count - sampler.ages_.seen.min()) <= 320 / 1.2 * 1.25 + 5  # type: ignore[attr-defined]


def test_a_mixed_stream_draws_a_share_uniformly_and_says_so() -> None:
    loss = np.random.default_rng(3).exponential(1.0, 400)
    loss[::5] = 0.0
    probe = crafted(torch.from_numpy(loss))
    sampler = started("plb", 400, 400, probe, warmup_epochs=0, mix=0.3)
    sampler.draw(probe, 0.0)
    expected = 0.7 * loss / loss.sum() + 0.3 / 400
    probability = sampler.draw_probability()
    assert probability is not None
    np.testing.assert_allclose(probability.numpy(), expected, rtol=1e-5)
    assert_follows(counts(sampler, probe, 300), expected)


def test_corrected_weights_undo_the_draws() -> None:
    """With exponent 1, p_i w_i is the same for all: the expected gradient is uniform's, but for its scale."""
    loss = np.random.default_rng(4).exponential(1.0, 50) + 0.05
    probe = crafted(torch.from_numpy(loss))
    sampler = started("plb", 50, 50, probe, warmup_epochs=0, correct=1.0)
    batch = sampler.draw(probe, 0.0)
    assert batch.weight is not None
    product = batch.weight.double().numpy() * loss[batch.index.numpy()]
    np.testing.assert_allclose(product, product[0], rtol=1e-5)
    assert batch.weight.max() == 1.0


@pytest.mark.parametrize("name", ["plb", "lb"])
def test_a_clipped_stream_is_never_taken_over_by_one_example(name: str) -> None:
    probe = crafted(torch.ones(100))
    sampler = started(name, 100, 10, probe, warmup_epochs=0, clip=3.0)
    sampler.draw(probe, 0.0)
    probe.loss[7] = 1e4
    sampler.observe(probe.signals(torch.tensor([7])))
    probability = sampler.draw_probability()
    assert probability is not None
    assert float(probability[7]) == pytest.approx(3.0 / (99 + 3.0), rel=1e-4)


def test_a_clipped_gradient_moves_the_weights_no_further_than_said(tmp_path: Path) -> None:
    """One step of plain SGD at rate 1 on a clip of 0.01, and the same run without: the second goes further."""
    short = ("budget=1 steps", "recipe.lr=1", "recipe.momentum=0", "recipe.weight_decay=0", "recipe.schedule=constant")
    results = []
    for place, clip in (("a", "1e-9"), ("b", "1e9"), ("c", "null")):
        (tmp_path / place).mkdir()
        results.append(train(settings("uniform", "clean", *short, f"recipe.clip_gradient={clip}"), tmp_path / place)["last"])
    still, free, plain = results
    assert free == plain
    assert still != free
