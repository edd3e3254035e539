"""What the methods promise in distribution, and what they do with losses that a test dictates."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from robuststream import registry
from robuststream.contracts import Pool, Sampler, Signals
from twins._world import RIGHT, UNSURE, WRONG, Crafted, Random, crafted


def started(name: str, size: int, batch_size: int, probe: Any, seed: int = 3, **settings: Any) -> Sampler:
    sampler: Sampler = registry.load("samplers", name, Sampler)(**settings)
    sampler.start(Pool(size, batch_size, 2, torch.zeros(size, dtype=torch.int64), seed), probe)
    return sampler


def counts(sampler: Sampler, probe: Any, steps: int) -> np.ndarray:
    """(N,) how often each example was drawn; nothing is learned."""
    drawn = torch.cat([sampler.draw(probe, 0.0).index for _ in range(steps)])
    return torch.bincount(drawn, minlength=sampler.pool.size).numpy()


def assert_follows(observed: np.ndarray, probability: np.ndarray) -> None:
    """Chi-square from both sides: neither off the probabilities, nor closer to them than independent draws can be."""
    assert observed[probability == 0].sum() == 0
    possible = probability > 0
    p_value = stats.chisquare(observed[possible], probability[possible] * observed.sum()).pvalue
    assert 1e-3 < p_value < 1 - 1e-3


def entropy(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -(p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum(1)


DIFFICULTY = {
    "plb": lambda probe: probe.loss.double().numpy(),
    "lb": lambda probe: probe.loss.double().numpy(),
    "nlb": lambda probe: np.tanh(probe.loss.double().numpy()),
    "peb": lambda probe: entropy(probe.logits.double().numpy()),
}


@pytest.mark.parametrize("name", sorted(DIFFICULTY))
def test_a_stream_draws_in_proportion_and_a_zero_never(name: str) -> None:
    rng = np.random.default_rng(1)
    loss, gap = rng.exponential(1.0, 500), rng.normal(0, 3, 500)
    loss[::7] = 0.0
    gap[::7] = 500.0  # softmax (1, 0): no entropy
    probe = crafted(torch.from_numpy(loss).float(), torch.from_numpy(np.stack([gap, 0 * gap], 1)).float())
    difficulty = DIFFICULTY[name](probe)
    sampler = started(name, 500, 500, probe, warmup_epochs=0)
    assert_follows(counts(sampler, probe, 400), difficulty / difficulty.sum())
    assert sampler.counters()["uniform_draws"] == 0
    assert probe.asked == [list(range(500))]


def test_owc_draws_the_misclassified_more_often_and_grows_repeats_once() -> None:
    probe = crafted(torch.ones(100), [WRONG if i < 50 else RIGHT for i in range(100)])
    sampler = started("owc", 100, 100, probe, alpha=0.02)
    sampler.draw(probe, 0.0)
    sampler.observe(probe.signals(torch.tensor([*range(10, 90), *[10] * 20])))
    grown = np.array([0.01 + 0.02 * (10 <= i < 50) for i in range(100)])
    np.testing.assert_allclose(sampler.stored_values(), grown / grown.sum(), rtol=1e-12)
    assert_follows(counts(sampler, probe, 500), grown / grown.sum())
    assert probe.asked == []


@pytest.mark.parametrize("name", sorted(DIFFICULTY))
def test_values_that_are_all_zero_mean_uniform_and_are_counted(name: str) -> None:
    probe = crafted(torch.zeros(100), [(500.0, 0.0)] * 100)
    sampler = started(name, 100, 100, probe, warmup_epochs=0)
    assert_follows(counts(sampler, probe, 300), np.full(100, 0.01))
    assert sampler.draw_probability().tolist() == [0.01] * 100
    assert sampler.counters()["uniform_draws"] == 300
    probe.loss[4], probe.logits[4] = 1.0, torch.zeros(2)
    sampler.observe(probe.signals(torch.tensor([4])))
    assert set(sampler.draw(probe, 0.0).index.tolist()) == {4}
    assert sampler.counters()["uniform_draws"] == 300


def test_plb_stores_the_largest_of_repeats_and_forgets_what_was() -> None:
    probe = crafted(torch.full((8,), 0.5))
    sampler = started("plb", 8, 8, probe, warmup_epochs=0)
    sampler.draw(probe, 0.0)
    for losses in itertools.permutations([1.0, 3.0, 2.0]):
        index = torch.tensor([6, 6, 6])
        sampler.observe(Signals.of(index, index * 0, torch.zeros(3, 2), torch.tensor(losses)))
        assert sampler.stored_values().tolist() == [0.5] * 6 + [3.0, 0.5]
    sampler.observe(probe.signals(torch.tensor([6])))
    assert sampler.stored_values().tolist() == [0.5] * 8


@pytest.mark.parametrize(
    ("name", "settings", "fewest", "most"),
    [
        ("lb", {"norm": "literal"}, 32, 70),  # methods: 33 / 35
        ("lb", {"norm": "within_batch"}, 60, 110),  # methods: 83 / 72
        ("plb", {"warmup_epochs": 0}, 10_900, 11_700),  # methods: about 11 300
    ],
)
@pytest.mark.parametrize("mean", [2.3, 0.5])
def test_lb_draws_the_same_few_where_base_values_cover(
    name: str, settings: dict[str, Any], fewest: int, most: int, mean: float
) -> None:
    """N 50 000, n 32, 400 steps: distinct examples of 12 800 draws. Why the slides call LB chaotic."""
    probe = Random(mean)
    sampler = started(name, 50_000, 32, probe, **settings)
    drawn: set[int] = set()
    for _ in range(400):
        index = sampler.draw(probe, 0.0).index
        drawn.update(index.tolist())
        sampler.observe(probe(index))
    assert fewest <= len(drawn) <= most


def test_uniform_deals_everyone_once_an_epoch() -> None:
    probe = crafted(torch.ones(50))
    sampler = started("uniform", 50, 8, probe)
    dealt = torch.cat([sampler.draw(probe, 0.0).index for _ in range(25)]).tolist()
    epochs = [dealt[at : at + 50] for at in range(0, 200, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert probe.asked == []


@pytest.mark.parametrize(("beta", "listed"), [(0.25, 0.80), (0.43, 0.70), (1.0, 0.50), (2.0, 0.33), (3.0, 0.25), (4.0, 0.20)])
def test_selective_backprop_keeps_what_kakurenbos_authors_list(beta: float, listed: float) -> None:
    probe = Random(1.0)
    sampler = started("selective-backprop", 4096, 64, probe, beta=beta)
    learned = sum(len(sampler.draw(probe, 0.0).index) for _ in range(round(listed * 60_000 / 64)))
    share = (learned + len(sampler.queue_)) / probe.looks  # type: ignore[attr-defined]
    error = (share * (1 - share) / probe.looks) ** 0.5
    assert share == pytest.approx(1 / (1 + beta), abs=4 * error)
    assert share == pytest.approx(listed, abs=0.005 + 4 * error)


@pytest.mark.parametrize(("size", "keep", "count"), [(10, 0.5, 5), (10, 0.33, 3), (10, 0.05, 1), (7, 0.5, 3), (10, 1.0, 10)])
def test_composer_keeps_an_exact_count_where_it_is_active(size: int, keep: float, count: int) -> None:
    probe = crafted(torch.rand(size, generator=torch.Generator().manual_seed(0)))
    sampler = started("selective-backprop", size, size, probe, variant="composer", keep=keep)
    kept = [(progress, len(sampler.draw(probe, progress).index)) for progress in (0.0, 0.49, 0.5, 0.5, 0.89, 0.89, 0.9, 1.0)]
    assert kept == [(0.0, size), (0.49, size), (0.5, count), (0.5, size), (0.89, count), (0.89, size), (0.9, size), (1.0, size)]
    assert len(probe.asked) == 2


@pytest.mark.parametrize(("keep", "count"), [(0.5, 3), (1 / 3, 2)])
def test_composer_draws_one_by_one_without_replacement(keep: float, count: int) -> None:
    """Against the exact chance of every subset under successive draws: stricter than inclusion frequencies."""
    losses = torch.tensor([0.4, 0.1, 0.6, 0.3, 0.2, 0.5])
    chance = ((losses.argsort().argsort().double().numpy() + 0.5) / 6) ** (1 / keep - 1)
    exact: Counter[frozenset[int]] = Counter()
    for order in itertools.permutations(range(6), count):
        left, p = chance.sum(), 1.0
        for i in order:
            p, left = p * chance[i] / left, left - chance[i]
        exact[frozenset(order)] += p
    probe = crafted(losses)
    sampler = started("selective-backprop", 6, 6, probe, variant="composer", keep=keep, interrupt=0)
    drawn = Counter(frozenset(sampler.draw(probe, 0.6).index.tolist()) for _ in range(12_000))
    subsets = sorted(exact, key=sorted)
    assert_follows(np.array([drawn[s] for s in subsets]), np.array([exact[s] for s in subsets]))


def kakurenbo_after_one_epoch(probe: Crafted, size: int, batch_size: int, progress: float = 0.0, **settings: Any) -> Sampler:
    sampler = started("kakurenbo", size, batch_size, probe, **settings)
    first = [sampler.draw(probe, progress) for _ in range(size // batch_size)]
    for batch in first:
        sampler.observe(probe.signals(batch.index))
    assert sorted(torch.cat([batch.index for batch in first]).tolist()) == list(range(size))  # nothing is hidden
    assert {batch.lr_scale for batch in first} == {1.0}
    assert probe.asked == []
    return sampler


def hidden(sampler: Sampler) -> list[int]:
    return (sampler.draw_probability() == 0).nonzero().flatten().tolist()


@pytest.mark.parametrize(("lr_from", "share"), [("hidden", 10 / 20), ("cap", 12 / 20)])
def test_kakurenbo_hides_what_is_easy_right_and_confident(lr_from: str, share: float) -> None:
    probe = crafted(torch.arange(20) / 20, [{1: WRONG, 3: UNSURE}.get(i, RIGHT) for i in range(20)])
    sampler = kakurenbo_after_one_epoch(probe, 20, 5, max_hidden=0.6, lr_from=lr_from)
    second = [sampler.draw(probe, 0.1) for _ in range(2)]
    assert hidden(sampler) == [0, 2, *range(4, 12)]
    assert sorted(torch.cat([batch.index for batch in second]).tolist()) == [1, 3, *range(12, 20)]
    assert [batch.lr_scale for batch in second] == [pytest.approx(1 / (1 - share), rel=1e-12)] * 2
    assert probe.asked == []

    probe.logits[0], probe.logits[2], probe.loss[5] = torch.tensor(WRONG), torch.tensor(UNSURE), 9.0
    sampler.draw(probe, 0.1)
    assert probe.asked == [[0, 2, 4, 5, 6], [7, 8, 9, 10, 11]]
    assert hidden(sampler) == [4, *range(6, 13)]  # moved back: 0 wrong, 2 unsure, 5 no more among the 12 easiest
    assert sampler.counters()["hidden_at_end"] == 8


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0.0, 1.0), (0.29, 1.0), (0.3, 0.8), (0.59, 0.8), (0.6, 0.6), (0.79, 0.6), (0.8, 0.4), (0.99, 0.4), (1.0, 0.4)],
)
@pytest.mark.parametrize("lr_from", ["hidden", "cap"])
def test_kakurenbo_hides_less_as_the_budget_is_spent(progress: float, factor: float, lr_from: str) -> None:
    """Epochs 60, 120 and 160 of 200, counted from 0, are the first of their factor: a border belongs to what follows it."""
    probe = crafted(torch.rand(100, generator=torch.Generator().manual_seed(0)))
    sampler = kakurenbo_after_one_epoch(probe, 100, 50, progress, max_hidden=0.5, lr_from=lr_from)
    batch = sampler.draw(probe, progress)
    easiest = probe.loss.argsort()[: round(50 * factor)]
    assert hidden(sampler) == sorted(easiest.tolist())
    assert batch.lr_scale == pytest.approx(1 / (1 - 0.5 * factor), rel=1e-12)
