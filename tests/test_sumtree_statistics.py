"""Frequencies of the sum tree where the tools in use today go wrong: many examples, many decades, many updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robuststream.sumtree import SumTree
from test_sumtree import backend, rng

__all__ = ["backend"]  # the fixture

PAST_FLOAT32 = 2**24 + 1


def falling(size: int) -> Tensor:
    """(N,) float32 values from 1e6 down to 1e-6: the light ones lie beyond the end of any float32 running sum."""
    return torch.logspace(6, -6, size, dtype=torch.float32)


def filled(values: Tensor, backend: str) -> SumTree:
    tree = SumTree(len(values), backend=backend)
    tree.load_state_dict({**tree.state_dict(), "values": values})
    return tree


def draws(tree: SumTree, count: int, seed: int) -> Tensor:
    generator = rng(seed)
    return torch.cat([tree.draw(10_000, generator) for _ in range(count // 10_000)])


def fits(drawn: Tensor, values: Tensor, bins: int = 1000) -> float:
    """The p-value of chi-square over `bins` runs of indices that have nearly equal shares of the total."""
    sums = np.cumsum(values.numpy(), dtype=np.float64)
    ends = np.unique(np.searchsorted(sums, np.arange(1, bins) / bins * sums[-1]))
    shares = np.diff(np.concatenate(([0.0], sums[ends], [sums[-1]]))) / sums[-1]
    counts = np.bincount(np.searchsorted(ends, drawn.numpy()), minlength=len(shares))
    large = shares * len(drawn) >= 5
    observed, expected = np.append(counts[large], counts[~large].sum()), np.append(shares[large], shares[~large].sum())
    kept = expected > 0
    return float(stats.chisquare(observed[kept], expected[kept] / expected.sum() * len(drawn)).pvalue)


@pytest.mark.parametrize("size", [1000, 1_000_000, PAST_FLOAT32])
def test_frequencies_over_twelve_decades(backend: str, size: int) -> None:
    values = falling(size)
    tree = filled(values, backend)
    assert 1e-3 < fits(draws(tree, 1_000_000, seed=size), values) < 1 - 1e-3
    lighter = values.clone()
    lighter[: size // 100] *= 0.9
    assert fits(draws(tree, 1_000_000, seed=size), lighter) < 1e-3  # the test sees a tenth less on the heaviest hundredth


def test_frequencies_and_reach_at_a_hundred_million() -> None:
    """Over 12 decades, and at equal weights each residue modulo 8 (a float32 tree reaches one of eight in the last quarter)."""
    size = 100_000_000
    values = falling(size)
    tree = filled(values, "auto")
    assert 1e-3 < fits(draws(tree, 1_000_000, seed=0), values) < 1 - 1e-3
    del values
    tree.values.fill_(1.0)
    tree.rebuild()
    assert tree.total.item() == size
    drawn = draws(tree, 1_000_000, seed=1)
    assert 1e-3 < stats.chisquare(torch.bincount(drawn * 1000 // size, minlength=1000).numpy()).pvalue < 1 - 1e-3
    last_quarter = drawn[drawn >= size * 3 // 4]
    assert 1e-3 < stats.chisquare(torch.bincount(last_quarter % 8, minlength=8).numpy()).pvalue < 1 - 1e-3


def test_the_lighter_half_is_drawn_where_float32_multinomial_never_does() -> None:
    size = 2**24
    values = torch.ones(size)
    values[: size // 2] = 2.0
    peers = torch.multinomial(values, 30_000, replacement=True, generator=rng(0))
    ours = draws(filled(values, "auto"), 30_000, seed=0)
    assert stats.binomtest(int((ours >= size // 2).sum()), len(ours), 1 / 3).pvalue > 1e-3
    if (peers >= size // 2).any():
        pytest.skip("this torch.multinomial draws the lighter half: it has been mended")


def test_every_residue_is_reached_where_a_float32_tree_of_torchrl_reaches_one() -> None:
    tree_type = pytest.importorskip("torchrl._torchrl", reason="torchrl is not installed").SumSegmentTreeFp32
    size = 100_000_000
    peer = tree_type(size)
    for begin in range(0, size, 10_000_000):
        index = torch.arange(begin, begin + 10_000_000)
        peer[index] = torch.ones(len(index))
    masses = torch.rand(100_000, generator=rng(0)) * peer.query(0, size)
    drawn = peer.scan_lower_bound(masses)
    last_quarter = drawn[drawn >= size * 3 // 4]
    if len((last_quarter % 8).unique()) > 1:
        pytest.skip("this torchrl reaches more than one residue: it has been mended")


def decayed(tree: SumTree, updates: int, batch: int) -> None:
    """Updates of random examples with values that fall by six decades from the first to the last."""
    generator = rng(0)
    steps = updates // batch
    for step in range(steps):
        index = torch.randint(tree.size, (batch,), generator=generator)
        values = torch.rand(batch, generator=generator) * 10 ** (-6 * step / steps)
        tree.update(index, values)


@pytest.mark.parametrize(("updates", "batch"), [(1_000_000, 128), (10_000_000, 4096)])
def test_sums_equal_a_rebuild_after_values_fell_six_decades(backend: str, updates: int, batch: int) -> None:
    tree = SumTree(200_000, backend=backend)
    decayed(tree, updates, batch)
    kept = [layer.clone() for layer in (*tree._layers.flat, tree._layers.edges)]
    assert tree.values.median() < 1e-3
    tree.rebuild()
    for before, after in zip(kept, (*tree._layers.flat, tree._layers.edges), strict=True):
        assert torch.equal(before, after)


def test_sums_that_are_incremented_would_have_drifted() -> None:
    """Why sums are taken anew: the same updates, added to a float32 total as differences."""
    tree, generator = SumTree(2000), rng(0)
    total = tree.values.sum()
    for step in range(2000):
        index = torch.randperm(2000, generator=generator)[:100]
        values = torch.rand(100, generator=generator) * 10 ** (-6 * step / 2000)
        total += (values - tree.values[index]).sum()
        tree.update(index, values)
    exact = tree.values.double().sum()
    assert abs(tree.total - exact) < 1e-12 * exact
    assert abs(total - exact) > 1e-3 * exact
