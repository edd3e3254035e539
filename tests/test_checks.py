"""The contract checks: good samplers pass them all, every broken one is caught, and ours are found and checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import broken_plugins as plugins
from robuststream import registry
from robuststream.checks import CHECKS, run_checks
from robuststream.checks.draws import difference
from robuststream.checks.waits import Waits
from robuststream.contracts import Sampler


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def failures(factory: Callable[[], Sampler]) -> dict[str, str]:
    return {result.name: result.message for result in run_checks(factory) if not result.passed}


@pytest.mark.parametrize("good", [plugins.Good, plugins.GoodStreaming, functools.partial(plugins.Good, gain=2.5)])
def test_good_samplers_pass_every_check(good: Callable[[], Sampler]) -> None:
    assert failures(good) == {}


@pytest.mark.parametrize("name", registry.names("samplers"))
def test_every_sampler_that_is_found_passes_every_check(name: str) -> None:
    assert failures(registry.load("samplers", name, Sampler)) == {}


BROKEN: list[tuple[type[Sampler], str, set[str], str]] = [
    # the plug-in, the check that must catch it, others that the same fault trips, a part of what its author is told
    (plugins.AltersSettings, "hyperparameters-round-trip", set(), "gain=0.5 of 1.0"),
    (plugins.AcceptsAnything, "hyperparameters-round-trip", set(), "gain accepts a value of any type"),
    (plugins.ForgotDataclass, "hyperparameters-round-trip", set(), "put @dataclass above class ForgotDataclass"),
    (plugins.SettingsBeyondYaml, "hyperparameters-round-trip", set(), "types that YAML knows"),
    (plugins.ShortIntegers, "legal-draws", {"survives-extreme-losses"}, "int64, not torch.int32"),
    (plugins.TooMany, "legal-draws", {"survives-extreme-losses"}, "holds 17 indices; allowed: 1 to 16"),
    (plugins.CountsFromTheEnd, "legal-draws", {"survives-extreme-losses"}, "holds -1; allowed: 0 to 255"),
    (plugins.ManySizes, "legal-draws", set(), "8 different sizes"),
    (plugins.NegativeWeights, "finite-weights", {"survives-extreme-losses"}, "weights are not negative"),
    (plugins.WholeWeights, "finite-weights", {"survives-extreme-losses"}, "float, not torch.int64"),
    (plugins.RateOnTheDevice, "finite-weights", {"survives-extreme-losses"}, "a number, not Tensor"),
    (plugins.ReadsInObserve, "never-waits-for-host", set(), "observe waits for the device: a value is read"),
    (plugins.MasksInDraw, "never-waits-for-host", set(), "96 of 96 draws wait for the device: a boolean mask"),
    (plugins.DeclaresInVain, "never-waits-for-host", set(), "declares that it waits ('better safe than sorry') but does not"),
    (plugins.SeedsFromTheClock, "same-seed-same-draws", {"clean-labels-out-of-reach"}, "from step 0 on"),
    (plugins.FixedSeed, "other-seed-other-draws", set(), "seeds 0 and 1 draw the same"),
    (plugins.ForgetsItsPlace, "resumes-bit-equal", set(), "draws differ from step 5 on"),
    (plugins.LiveState, "resumes-bit-equal", set(), "state_dict()['loss_'] changes"),
    (plugins.KeepsWhatItLoads, "resumes-bit-equal", set(), "keeps and changes the given 'loss_'"),
    (plugins.UnsafeState, "resumes-bit-equal", set(), "holds decimal.Decimal; only tensors"),
    (
        plugins.NothingLeft,
        "survives-extreme-losses",
        set(),
        "all losses are zero: RuntimeError: invalid multinomial distribution",
    ),
    (plugins.NeverSatisfied, "survives-extreme-losses", set(), "where all losses are zero: AssertionError: one draw probed"),
    (plugins.WalksTheFrames, "clean-labels-out-of-reach", set(), "depend on the clean labels"),
    (plugins.OneClassOnly, "learns-a-toy-task", set(), "does every class get drawn"),
    (plugins.TakesAnyPool, "small-pool-refused", set(), "super().start(pool, probe)"),
    (plugins.GlobalGenerator, "leaves-globals-alone", set(), "changed: torch's global generator;"),
    (plugins.SwitchesTheMode, "leaves-globals-alone", set(), "changed: the network's train or eval mode;"),
    (plugins.ScalesInPlace, "observes-without-altering", set(), "signals.loss written to"),
    (plugins.Relabels, "observes-without-altering", set(), "pool.labels written to"),
]


@pytest.mark.parametrize(("broken", "check", "others", "told"), BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_sampler_is_caught_by_its_check_and_told_why(
    broken: type[Sampler], check: str, others: set[str], told: str
) -> None:
    found = failures(broken)
    assert set(found) == {check, *others}
    assert told in found[check]
    assert "\n" not in found[check]


def test_every_check_has_a_broken_sampler_and_a_line_for_the_list() -> None:
    assert {row[1] for row in BROKEN} == set(CHECKS)
    for check in CHECKS.values():
        assert check.__doc__
        assert check.__doc__.count("\n") == 0


def test_checks_find_what_they_ran_on_unchanged() -> None:
    state = torch.get_rng_state()
    first, second = run_checks(plugins.GoodStreaming), run_checks(plugins.GoodStreaming)
    assert first == second
    assert [result.name for result in first] == list(CHECKS)
    assert torch.get_rng_state().equal(state)


def test_a_sampler_that_cannot_be_built_fails_with_the_reason_and_its_place() -> None:
    class Abstract(Sampler):
        pass

    found = failures(Abstract)  # pyright: ignore[reportArgumentType]
    assert set(found) == set(CHECKS)
    assert found["legal-draws"].startswith("TypeError: Can't instantiate abstract class Abstract")
    assert "(toy.py:" in found["legal-draws"]


X, INDEX, COUNT = torch.rand(8), torch.arange(8), torch.tensor(3)
MASK = X >= 0

WAITING: dict[str, Callable[[], Any]] = {
    "item": lambda: COUNT.item(),
    "tolist": lambda: X.tolist(),
    "numpy": lambda: X.numpy(),
    "cpu": lambda: X.cpu(),
    "to cpu": lambda: X.to("cpu"),
    "print": lambda: f"{COUNT}",
    "repr": lambda: repr(X),
    "bool": lambda: bool(MASK.any()),
    "int": lambda: int(COUNT),
    "float": lambda: float(COUNT),
    "range": lambda: range(COUNT),  # pyright: ignore[reportArgumentType]
    "slice": lambda: X[:COUNT],
    "index of no dimension": lambda: X[COUNT],
    "size": lambda: torch.arange(COUNT),  # pyright: ignore[reportArgumentType, reportCallIssue]
    "contains": lambda: COUNT in INDEX,
    "mask": lambda: X[MASK],
    "mask of a column": lambda: X[None][:, MASK],
    "write by mask": lambda: X.clone().__setitem__(MASK, 0.0),
    "write a number by index": lambda: X.clone().__setitem__(INDEX, 3.0),
    "nonzero": lambda: MASK.nonzero(),
    "where": lambda: torch.where(MASK),
    "masked_select": lambda: X.masked_select(MASK),
    "unique": lambda: INDEX.unique(),
    "bincount": lambda: INDEX.bincount(),
    "repeats": lambda: INDEX.repeat_interleave(INDEX),
    "without replacement": lambda: torch.multinomial(X, 3),
    "equal": lambda: X.equal(X),
    "tensor of tensors": lambda: torch.tensor([COUNT, COUNT]),
    "unsized one-hot": lambda: F.one_hot(INDEX),
}
FREE: dict[str, Callable[[], Any]] = {
    "gather": lambda: X[INDEX],
    "where": lambda: torch.where(MASK, X, 0.0),
    "write by index": lambda: X.clone().__setitem__(INDEX, X),
    "fill by index": lambda: X.clone().index_fill_(0, INDEX, 3.0),
    "masked_fill": lambda: X.masked_fill(MASK, 0.0),
    "repeats": lambda: INDEX.repeat_interleave(INDEX, output_size=28),
    "even repeats": lambda: INDEX.repeat_interleave(2),
    "with replacement": lambda: torch.multinomial(X + 0.1, 3, replacement=True),
    "one-hot": lambda: F.one_hot(INDEX, 8),
    "quantile": lambda: X.quantile(torch.tensor([0.25, 0.5])),
    "sorting": lambda: X.argsort().cumsum(0).topk(3),
    "shape": lambda: [X.shape[0], len(X), X.ndim, X.device, X.dtype],
    "same device": lambda: X.to(INDEX.device),
    "scatter": lambda: torch.zeros(8).scatter_reduce_(0, INDEX, X, "amax"),
    "random": lambda: torch.randperm(8, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_wait_is_seen_with_the_line_it_comes_from(name: str) -> None:
    waits = Waits()
    with waits.watching():
        WAITING[name]()
    assert waits.take()[0].split(", at ")[-1].startswith("test_checks.py:")


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_let_through(name: str) -> None:
    waits = Waits()
    with waits.watching():
        FREE[name]()
    assert waits.take() == []


@pytest.mark.parametrize(
    ("a", "b", "where"),
    [
        ({"x": [1, {"y": torch.tensor([0.0, torch.nan])}]}, {"x": [1, {"y": torch.tensor([0.0, torch.nan])}]}, ""),
        ({"x": torch.zeros(2)}, {"x": torch.zeros(2, dtype=torch.float64)}, "x"),
        ({"x": torch.zeros(2)}, {"x": torch.zeros(3)}, "x"),
        ({"x": {"y": torch.zeros(2)}}, {"x": {"y": torch.tensor([0.0, 1e-45])}}, "x.y"),
        ({"x": [1, 2]}, {"x": [1]}, "x.1"),
        ({"x": 1}, {"x": 1, "z": 2}, "z"),
        ({"x": torch.tensor([True])}, {"x": torch.tensor([False])}, "x"),
        ({"x": None}, {"x": torch.zeros(1)}, "x"),
        ({"x": float("nan")}, {"x": float("nan")}, ""),
    ],
)
def test_difference_says_where(a: dict[str, Tensor], b: dict[str, Tensor], where: str) -> None:
    assert difference(a, b) == where
