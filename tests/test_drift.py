"""Data that drift from clean: foreign pictures, long tails, duplicates, and what the trainer makes of such a pool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from _runs import settings
from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError
from robuststream.scenarios.duplicates import Duplicates
from robuststream.scenarios.long_tail import LongTail, tail_sizes
from robuststream.scenarios.open_set import OpenSet
from robuststream.training.evaluation import class_accuracies
from robuststream.training.label_facts import clean_labels, label_facts
from robuststream.training.loop import train as train_run
from robuststream.training.world import build_world


def split(size: int, num_classes: int = 10, channels: int = 1, rows_from: int = 0) -> Split:
    """Classes in turn; every picture is of one value, its own place."""
    labels = torch.arange(size) % num_classes
    images = (torch.arange(size) % 251).to(torch.uint8)[:, None, None, None].expand(size, channels, 6, 5).contiguous()
    return Split(images, labels, torch.arange(size) + rows_from, num_classes, "mine", size + rows_from)


def made(scenario: Scenario, train: Split, seed: int = 0) -> Split:
    return scenario.corrupt(train, torch.Generator().manual_seed(seed))


def foreign_file(folder: Path, colours: int = 3) -> str:
    """A data set of larger pictures, all of value 255."""
    images = np.full((12, 9, 9, colours), 255, dtype=np.uint8)
    labels = np.arange(12) % 2
    np.savez(folder / "other.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return str(folder / "other.npz")


# -- open set ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("size", "channels"), [(1, 1), (3, 3), (101, 3)])
def test_exactly_round_rate_n_images_are_foreign_under_their_old_labels(rate: float, size: int, channels: int) -> None:
    train = split(size, channels=channels)
    before = train.images.clone()
    result = made(OpenSet(rate=rate), train)
    foreign = result.rows == -1
    assert int(foreign.sum()) == round(rate * size)
    assert result.labels.equal(train.labels)
    assert result.images.shape == train.images.shape
    assert result.images.dtype == torch.uint8
    assert result.images[~foreign].equal(train.images[~foreign])
    assert result.rows[~foreign].equal(train.rows[~foreign])
    assert train.images.equal(before)
    assert (clean_labels(result, train) == torch.where(foreign, -1, train.labels)).all()


def test_foreign_images_come_from_the_data_set_that_is_named(tmp_path: Path) -> None:
    for colours, channels in ((3, 1), (1, 3), (3, 3)):
        result = made(OpenSet(rate=0.5, images=foreign_file(tmp_path, colours)), split(40, channels=channels))
        assert result.images[result.rows == -1].min() >= 254  # grey of white, rounded


def test_every_place_is_replaced_equally_often_and_a_higher_rate_keeps_those_of_a_lower() -> None:
    train, hits = split(20), np.zeros(20)
    for seed in range(400):
        hits += (made(OpenSet(rate=0.25), train, seed).rows == -1).numpy()
    assert stats.chisquare(hits).pvalue > 1e-3
    low, high = (made(OpenSet(rate=rate), train).rows == -1 for rate in (0.2, 0.6))
    assert high[low].all()


def test_photographs_are_patches_of_many_shades() -> None:
    result = made(OpenSet(rate=1.0), split(60, channels=3))
    assert result.images.float().flatten(1).mean(1).std() > 10
    assert result.images.float().flatten(2).std(2).mean() > 3


# -- long tail ---------------------------------------------------------------------------------------------------------------


def test_sizes_fall_exponentially() -> None:
    assert tail_sizes([5000] * 10, 100) == [round(5000 * 100 ** (-c / 9)) for c in range(10)]
    assert tail_sizes([5000] * 10, 100)[-1] == 50
    assert tail_sizes([500] * 100, 10)[0] == 10 * tail_sizes([500] * 100, 10)[-1]
    assert tail_sizes([7, 9, 8], 1) == [7, 7, 7]
    assert tail_sizes([50, 1000, 1000], 4) == [50, 25, 12]  # the first class is what limits
    assert tail_sizes([1000, 1000, 3], 4) == [12, 6, 3]  # the last is
    assert tail_sizes([0, 8, 8], 4) == [0, 8, 4]  # an absent class limits nobody, 16 / 2 and 16 / 4
    assert tail_sizes([3] * 4, 1e6) == [3, 1, 1, 1]
    assert tail_sizes([4], 10) == [4]


@pytest.mark.parametrize("ratio", [1.0, 3.0, 50.0])
@pytest.mark.parametrize("size", [1, 3, 10, 400])
def test_a_tail_holds_its_sizes_in_any_pool(ratio: float, size: int) -> None:
    train = split(size)
    result = made(LongTail(ratio=ratio), train)
    available = torch.bincount(train.labels, minlength=10).tolist()
    assert torch.bincount(result.labels, minlength=10).tolist() == tail_sizes(available, ratio)
    assert result.rows.equal(result.rows.unique())  # in order, no one twice
    assert result.labels.equal(train.labels[result.rows])
    assert result.images.equal(train.images[result.rows])
    assert clean_labels(result, train).equal(result.labels)


def test_every_example_of_a_class_is_kept_equally_often() -> None:
    train, kept = split(40, num_classes=2), np.zeros(40)
    for seed in range(500):
        kept[made(LongTail(ratio=4), train, seed).rows.numpy()] += 1
    assert kept[::2].tolist() == [500] * 20
    assert kept[1::2].sum() == 500 * 5
    assert stats.chisquare(kept[1::2]).pvalue > 1e-3


# -- duplicates --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("size", [1, 3, 200])
def test_a_share_of_the_pool_repeats_the_rest(share: float, size: int) -> None:
    train = split(size, rows_from=7)
    result = made(Duplicates(share=share), train)
    copies = min(round(share * size), size - 1)
    kept = result.rows == train.rows
    assert len(result.labels) == size
    assert int((~kept).sum()) == copies
    assert set(result.rows.tolist()) == set(result.rows[kept].tolist())
    assert result.labels.equal((result.rows - 7) % 10)
    assert result.images[:, 0, 0, 0].equal(((result.rows - 7) % 251).to(torch.uint8))
    assert label_facts(result, clean_labels(result, train)).get("distinct", size) == size - copies


def test_copies_are_drawn_uniformly() -> None:
    train, times = split(10), np.zeros(10)
    for seed in range(800):
        times += np.bincount(made(Duplicates(share=0.5), train, seed).rows.numpy(), minlength=10)
    assert stats.chisquare(times).pvalue > 1e-3


# -- what all share ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [OpenSet(), LongTail(ratio=4), Duplicates()])
def test_one_seed_one_pool_and_no_global_generator(scenario: Scenario) -> None:
    train = split(60)
    state = torch.get_rng_state()
    one, same, other = (made(scenario, train, seed) for seed in (1, 1, 2))
    assert one.images.equal(same.images)
    assert one.rows.equal(same.rows)
    assert not one.rows.equal(other.rows)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("cls", "given", "message"),
    [
        (OpenSet, {"rate": 1.1}, "allowed: 0 to 1"),
        (OpenSet, {"images": "cifar01"}, "unknown data set 'cifar01'; did you mean 'cifar10'?"),
        (OpenSet, {"images": "gone.npz"}, "there is no such file"),
        (LongTail, {"ratio": 0.5}, "ratio=0.5 is not possible (allowed: 1 to"),
        (LongTail, {"ratio": float("inf")}, "is not possible"),
        (Duplicates, {"share": 1}, "share=1.0 is not possible (allowed: >= 0 and < 1)"),
        (Duplicates, {"share": -0.1}, "is not possible"),
    ],
)
def test_values_out_of_range_are_refused(cls: type[Scenario], given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        cls(**given)
    assert "\n" not in str(caught.value)


def test_the_pools_own_images_are_not_foreign(tmp_path: Path) -> None:
    file = foreign_file(tmp_path)
    train = Split(**{name: getattr(split(4), name) for name in Split.__slots__} | {"dataset": file})
    with pytest.raises(UserError, match="those are the pool's own"):
        made(OpenSet(images=file), train)


@pytest.mark.parametrize("name", ["open-set-40", "long-tail-10", "duplicates-50"])
def test_a_run_knows_what_its_pool_is_made_of(name: str, tmp_path: Path) -> None:
    run = settings("uniform", name)
    world, clean = build_world(run), build_world(settings("uniform", "clean"))
    facts = world.facts["labels"]
    assert world.pool.size == world.facts["data"]["train"] == world.diagnostics.size
    assert (world.pool.size < 200) == (name == "long-tail-10")
    assert facts["wrong"] == facts.get("foreign", 0) == (80 if name == "open-set-40" else 0)
    assert int(world.diagnostics.wrong.sum()) == facts["wrong"]
    assert facts.get("distinct") == (100 if name == "duplicates-50" else None)
    assert sum(map(sum, facts["matrix"])) == world.pool.size - facts.get("foreign", 0)
    assert world.validation.labels.equal(clean.validation.labels)
    assert "foreign" not in clean.facts["labels"]
    assert "distinct" not in clean.facts["labels"]
    tmp_path.joinpath("run").mkdir()
    result = train_run(run, tmp_path / "run")
    assert 0 <= result["last"]["test_accuracy"] <= 1


def test_accuracy_by_class_adds_up(tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir()
    result = train_run(settings("uniform", "clean"), tmp_path / "run")["last"]
    sizes = torch.bincount(build_world(settings()).test._split.labels)  # pyright: ignore[reportOptionalMemberAccess]
    hits = sum(share * int(size) for share, size in zip(result["test_per_class"], sizes, strict=True))
    assert hits / int(sizes.sum()) == pytest.approx(result["test_accuracy"])
    found = class_accuracies(torch.tensor([True, False, True]), torch.tensor([0, 0, 2]), 4)
    assert found == [0.5, None, 1.0, None]
