"""The sum tree's promises, on each backend: which index a uniform means, what is stored, what is refused."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robuststream.errors import UserError
from robuststream.sumtree import SumTree
from robuststream.sumtree._library import load_library

SIZES = (1, 7, 1024, 1025, 40_000)  # one layer up to 1024, then two, then three


def native_or_skip() -> None:
    try:
        load_library()
    except UserError as why:
        pytest.skip(str(why))


@pytest.fixture(params=["native", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        native_or_skip()
    return request.param


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wild(n: int, generator: torch.Generator) -> Tensor:
    """(n,) float32 over 12 decades, one in four zero."""
    values = 10 ** (12 * torch.rand(n, generator=generator, dtype=torch.float64) - 6)
    return torch.where(torch.rand(n, generator=generator) < 0.25, 0.0, values).float()


def tree_of(values: Tensor | list[float], backend: str, **settings: Any) -> SumTree:
    values = torch.as_tensor(values)
    tree = SumTree(len(values), backend=backend, **settings)
    tree.update(torch.arange(len(values)), values)
    return tree


class Twin:
    """The same tree in lists and floats: sums of 32 from first to last, and a search that adds up child after child."""

    def __init__(self, values: Tensor) -> None:
        self.layers = [[float(x) for x in values]]
        while len(self.layers[-1]) > 1024:
            below = self.layers[-1]
            self.layers.append([self.sums(below[i : i + 32])[-1] for i in range(0, len(below), 32)])

    @staticmethod
    def sums(row: list[float]) -> list[float]:
        return list(itertools.accumulate(row))

    def draw(self, r: list[float]) -> int:
        at, begin, width = 0, 0, len(self.layers[-1])
        for layer, fresh in zip(reversed(self.layers), r, strict=True):
            sums = self.sums(layer[begin : begin + width])
            at = begin + next(i for i, s in enumerate(sums) if s >= (1.0 - fresh) * sums[-1])
            begin, width = 32 * at, 32
        return at


@pytest.mark.parametrize("size", SIZES)
def test_a_seed_means_what_the_twin_says(backend: str, size: int) -> None:
    values = wild(size, rng(size))
    values[size // 2] = 3.0
    tree, twin = tree_of(values, backend), Twin(values)
    r = torch.rand(len(twin.layers), 300, generator=rng(5), dtype=torch.float64)
    assert tree.draw(300, rng(5)).tolist() == [twin.draw(column) for column in r.t().tolist()]
    assert tree.total.item() == Twin.sums(twin.layers[-1])[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_equal_a_rebuild_after_updates(backend: str, dtype: torch.dtype) -> None:
    tree, generator = SumTree(40_000, backend=backend, dtype=dtype), rng(0)
    for n in [1, 13, 128, 5000] * 5:  # 5000 exceeds the rows of a layer, so that it is summed whole
        tree.update(torch.randint(40_000, (n,), generator=generator), wild(n, generator))
    kept = [layer.clone() for layer in (*tree._layers.flat, tree._layers.edges)]
    other = SumTree(40_000, backend="torch", dtype=dtype)
    other.load_state_dict(tree.state_dict())
    for ours, rebuilt in zip(kept, (*other._layers.flat, other._layers.edges), strict=True):
        assert torch.equal(ours, rebuilt)


def test_the_largest_of_a_repeated_index_wins(backend: str) -> None:
    tree = SumTree(3000, backend=backend)
    tree.update(torch.tensor([5, 9, 5, 5, 9]), torch.tensor([0.2, 0.5, 0.7, 0.1, math.nan]))
    assert tree.values[[5, 9, 6]].tolist() == pytest.approx([0.7, 0.5, 1.0])  # 0.7 < 1.0: the old value has no vote


def test_what_cannot_be_a_value_is_repaired_and_counted(backend: str) -> None:
    given = [math.nan, -1.0, math.inf, -math.inf, 2.0, 0.0]
    tree = tree_of(given, backend)
    assert tree.values.tolist() == [0.0, 0.0, torch.finfo(torch.float32).max, 0.0, 2.0, 0.0]
    assert tree.repaired.item() == 4
    deep = tree_of(torch.tensor([*given, 1e300, 1e-300], dtype=torch.float64), backend, dtype=torch.float64)
    assert deep.values.tolist() == [0.0, 0.0, 2.0**512, 0.0, 2.0, 0.0, 2.0**512, 0.0]
    assert deep.repaired.item() == 6
    assert SumTree(2, backend=backend, fill=math.nan).total.item() == 0.0


def test_counts_are_whole_whenever_they_are_read(backend: str) -> None:
    tree = SumTree(2000, backend=backend, fill=0.0)
    for call in range(1, 151):
        tree.draw(3, rng(0))
        tree.update(torch.tensor([3, 4]), torch.tensor([math.nan, 0.0]))
        if call in (1, 2, 63, 64, 65, 150):
            assert (tree.uniform_draws.item(), tree.repaired.item()) == (call, call)


def test_sums_stay_finite_at_the_largest_values(backend: str) -> None:
    for dtype in (torch.float32, torch.float64):
        tree = SumTree(50_000, backend=backend, dtype=dtype, fill=math.inf)
        assert math.isfinite(tree.total.item())
        tree.scale(1e30)
        assert math.isfinite(tree.total.item())
        assert tree.draw(1000, rng(0)).unique().numel() > 950


EDGES = [0.0, 2.0**-53, 0.5, 1 - 2.0**-53]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", ["decades", "denormals", "one in 1e6", "first and last", "absorbed", "largest", "last row"], ids=str
)
def test_zero_is_never_drawn_at_any_edge(backend: str, dtype: torch.dtype, shape: str) -> None:
    size = 1_000_000
    values = torch.zeros(size, dtype=torch.float64)
    if shape == "decades":
        values = wild(size, rng(1)).double()
    elif shape == "denormals":
        values[3::1000] = 2.0**-149
    elif shape == "one in 1e6":
        values[777_777] = 0.3
    elif shape == "first and last":
        values[[0, -1]] = torch.tensor([1e-30, 1e30], dtype=torch.float64)
    elif shape == "absorbed":  # the small ones vanish in every sum with a large one
        values[::2] = 1e-20
        values[:: 32 * 32] = 1e20
    elif shape == "largest":
        values[1::3] = torch.finfo(torch.float32).max
    else:
        values[-3] = 1.0
    tree = tree_of(values.to(dtype), backend, dtype=dtype)
    walk = tree._native or tree._walk
    layers = len(tree._layers.flat)
    corners = torch.tensor(list(itertools.product(EDGES, repeat=layers)), dtype=torch.float64).t()
    for r in (corners.contiguous(), torch.rand(layers, 50_000, generator=rng(2), dtype=torch.float64)):
        drawn = walk.draw(r)
        assert 0 <= drawn.min() <= drawn.max() < size
        assert (tree.values[drawn] > 0).all()
    drawn = tree.draw(5000, rng(3), stratified=True)
    assert 0 <= drawn.min() <= drawn.max() < size
    assert (tree.values[drawn] > 0).all()
    assert tree.uniform_draws.item() == 0


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("size", [1000, 40_000])
def test_all_zero_draws_uniformly_and_says_so(backend: str, size: int, stratified: bool) -> None:
    tree = SumTree(size, backend=backend, fill=0.0)
    drawn = torch.cat([tree.draw(20_000, rng(i), stratified=stratified) for i in range(5)])
    assert tree.uniform_draws.item() == 5
    assert drawn.max() < size
    assert stats.chisquare(torch.bincount(drawn * 100 // size, minlength=100).numpy()).pvalue > 1e-3
    assert torch.equal(tree.probability(drawn[:3]), torch.full((3,), 1 / size, dtype=torch.float64))
    tree.update(torch.tensor([size - 1]), torch.tensor([1e-20]))
    assert tree.draw(3, rng(0)).tolist() == [size - 1] * 3
    assert tree.uniform_draws.item() == 5


def test_probability_is_the_share_of_the_total(backend: str) -> None:
    values = wild(40_000, rng(4))
    tree = tree_of(values, backend)
    share = values.double().numpy() / values.double().numpy().sum()
    np.testing.assert_allclose(tree.probability().numpy(), share, rtol=1e-12)
    index = torch.tensor([5, 39_999, 5])
    assert torch.equal(tree.probability(index), tree.probability()[index])


def test_stratified_draws_have_counts_next_to_their_expectation(backend: str) -> None:
    """n parts of one n-th each: the interval of an example meets between n p - 2 and n p + 2 of them."""
    values = 10 ** (4 * torch.rand(5000, generator=rng(1), dtype=torch.float64))
    tree = tree_of(values, backend, dtype=torch.float64)
    n, runs = 3000, 40
    expected = n * tree.probability()
    sums = torch.zeros(5000, dtype=torch.float64)
    for seed in range(runs):
        drawn = tree.draw(n, rng(seed), stratified=True)
        assert (drawn.diff() >= 0).all()
        counts = torch.bincount(drawn, minlength=5000).double()
        assert (counts - expected).abs().max() < 2
        sums += counts
    assert (sums / runs - expected).abs().max() < 5 * 1 / math.sqrt(runs)  # unbiased; one count deviates by less than 1
    assert (torch.bincount(tree.draw(n, rng(0)), minlength=5000) - expected).abs().max() > 2  # plain draws do not have it


@pytest.mark.parametrize(("size", "places"), [(5, [0, 1, 2, 3, 4]), (40_000, [0, 1, 40, 1030, 39_999])])
def test_distinct_draws_are_successive_draws(backend: str, size: int, places: list[int]) -> None:
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    values = torch.zeros(size)
    values[places] = torch.tensor(weights)
    tree, generator, runs = tree_of(values, backend), rng(3), 4000
    outcomes = list(itertools.permutations(range(5), 3))
    seen = dict.fromkeys(outcomes, 0)
    for _ in range(runs):
        a, b, c = (places.index(i) for i in tree.draw_distinct(3, generator).tolist())
        seen[a, b, c] += 1
    expected = []
    for a, b, c in outcomes:
        first, second = weights[a] / 15, weights[b] / (15 - weights[a])
        expected.append(runs * first * second * weights[c] / (15 - weights[a] - weights[b]))
    assert stats.chisquare([seen[outcome] for outcome in outcomes], expected).pvalue > 1e-3


def test_distinct_draws_end_with_zeros_uniformly_and_never_repeat(backend: str) -> None:
    values = torch.zeros(3000)
    values[[7, 2999]] = torch.tensor([1e-30, 1e30])
    tree = tree_of(values, backend)
    rest = []
    for seed in range(60):
        drawn = tree.draw_distinct(100, rng(seed))
        assert drawn[:2].tolist() == [2999, 7]
        assert drawn.unique().numel() == 100
        rest.append(drawn[2:])
    assert stats.chisquare(torch.bincount(torch.cat(rest) // 100, minlength=30).numpy()).pvalue > 1e-3
    assert torch.equal(tree.draw_distinct(3000, rng(0)).sort().values, torch.arange(3000))
    with pytest.raises(UserError, match="cannot draw 3001 different examples of 3000"):
        tree.draw_distinct(3001, rng(0))


def test_scale_equals_a_rebuild_of_scaled_values(backend: str) -> None:
    values = wild(40_000, rng(8))
    tree, other = tree_of(values, backend), tree_of(values * 0.3, backend)
    tree.scale(torch.tensor(0.3))
    for ours, rebuilt in zip(tree._layers.flat, other._layers.flat, strict=True):
        assert torch.equal(ours, rebuilt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_goes_round_to_any_backend_and_copies_stand_alone(backend: str, dtype: torch.dtype) -> None:
    tree = tree_of(wild(5000, rng(2)), backend, dtype=dtype)
    tree.update(torch.tensor([3]), torch.tensor([math.nan]))
    other = SumTree(5000, backend="torch", dtype=dtype)
    other.load_state_dict(tree.state_dict())
    double = copy.deepcopy(tree)
    for restored in (other, double):
        assert torch.equal(restored.draw(500, rng(1)), tree.draw(500, rng(1)))
        assert restored.repaired.item() == 1
    double.update(torch.tensor([0, 1]), torch.tensor([1e20, 0.0]))
    assert double.draw(1, rng(0)).item() == 0
    assert torch.equal(tree.values, other.values)
    assert double.backend == tree.backend


def test_inputs_of_other_types_and_strides_are_read_right(backend: str) -> None:
    tree = SumTree(2000, backend=backend)
    index = torch.arange(20).view(10, 2)[:, 1]
    values = torch.arange(30, dtype=torch.float64, requires_grad=True).view(10, 3)[:, 2]
    tree.update(index, values)
    assert tree.values[1:20:2].tolist() == list(range(2, 32, 3))
    assert tree.values[0:20:2].tolist() == [1.0] * 10
    assert not tree.values.requires_grad
    tree.update(torch.empty(0, dtype=torch.int64), torch.empty(0))
    assert tree.draw(0, rng(0)).tolist() == []


@pytest.mark.parametrize("wrong", [-1, 2000, 2**40])
def test_an_index_outside_is_an_error(backend: str, wrong: int) -> None:
    """2000 is an entry of the padding, which must stay zero."""
    tree = SumTree(2000, backend=backend)
    with pytest.raises((IndexError, RuntimeError), match=str(wrong)):
        tree.update(torch.tensor([3, wrong]), torch.tensor([5.0, 5.0]))
    if backend == "native":  # torch finds out while it writes
        tree.rebuild()
        assert tree.total.item() == 2000.0


def test_refusals_are_one_line() -> None:
    for build, said in (
        (lambda: SumTree(0), "size >= 1"),
        (lambda: SumTree(5, dtype=torch.float16), "float32 or float64"),
        (lambda: SumTree(5, backend="fast"), "auto | native | torch"),
        (lambda: SumTree(5, "meta", backend="native"), "works on the CPU alone"),
        (lambda: SumTree(5).update(torch.tensor([1, 2]), torch.tensor([1.0])), "must have one same dimension"),
        (lambda: SumTree(5).load_state_dict(SumTree(6).state_dict()), "does not fit"),
    ):
        with pytest.raises(UserError) as caught:
            build()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_memory_stays_below_five_bytes_per_example(backend: str) -> None:
    layers = SumTree(1_000_000, backend=backend)._layers
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*layers.flat, layers.edges))
    assert held < 5 * 1_000_000
