"""Label noise: exact counts, right destinations, refusals in one line, and nothing touched that was not given."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from robuststream import registry
from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError
from robuststream.scenarios._noise_classes import MAPS
from robuststream.scenarios.clean import Clean
from robuststream.scenarios.label_noise import LabelNoise


def split(size: int, num_classes: int = 10, dataset: str = "cifar10") -> Split:
    """A pool whose rows are every third of the data set's own, last first, with classes of very different sizes."""
    drawn = np.random.default_rng(7).choice(
        num_classes, size=size, p=np.arange(1, num_classes + 1) / (num_classes * (num_classes + 1) / 2)
    )
    rows = torch.arange(size).flip(0) * 3
    return Split(
        torch.zeros(size, 1, 2, 2, dtype=torch.uint8), torch.from_numpy(drawn).long(), rows, num_classes, dataset, 3 * size
    )


def corrupted(train: Split, seed: int = 0, **settings: Any) -> torch.Tensor:
    return LabelNoise(**settings).corrupt(train, torch.Generator().manual_seed(seed)).labels


def flips(train: Split, labels: torch.Tensor) -> Counter[tuple[int, int]]:
    """(clean class, observed class) -> count, of the examples that changed."""
    return Counter((c, o) for c, o in zip(train.labels.tolist(), labels.tolist(), strict=True) if c != o)


@pytest.mark.parametrize("noise", ["symmetric", "pair"])
@pytest.mark.parametrize("rate", [0, 0.0, 0.1, 0.25, 0.4, 0.777, 1.0, 1])
@pytest.mark.parametrize("size", [1, 3, 4, 101, 1000])
def test_exactly_round_rate_n_examples_flip(noise: str, rate: float, size: int) -> None:
    train = split(size)
    for seed in range(20):
        labels = corrupted(train, seed, noise=noise, rate=rate)
        assert int((labels != train.labels).sum()) == round(rate * size)
        assert labels.min() >= 0
        assert labels.max() < 10


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.45, 1.0])
@pytest.mark.parametrize("size", [2, 50, 1000])
def test_asymmetric_rate_is_of_the_examples_in_mapped_classes(rate: float, size: int) -> None:
    train = split(size)
    mapped = sum(label in MAPS["cifar10"] for label in train.labels.tolist())
    for seed in range(20):
        found = flips(train, corrupted(train, seed, noise="asymmetric", rate=rate))
        assert sum(found.values()) == round(rate * mapped)
        assert all(MAPS["cifar10"][source] == to for source, to in found)


def test_symmetric_examples_and_destinations_are_uniform() -> None:
    """Chi-square against an independent statement: every position equally often, every wrong class equally often."""
    train = split(40, num_classes=5)
    position, step = np.zeros(40), np.zeros(5)
    for seed in range(2000):
        labels = corrupted(train, seed, rate=0.3)
        position += (labels != train.labels).numpy()
        step += np.bincount(((labels - train.labels) % 5).numpy(), minlength=5)
    # Without replacement the positions' variance is (1 - 0.3) of a multinomial's; the test is then conservative.
    assert stats.chisquare(position).pvalue > 1e-3
    assert stats.chisquare(step[1:]).pvalue > 1e-3
    assert step[0] == 2000 * 28


def test_inclusive_noise_realises_rate_times_k_minus_one_over_k() -> None:
    train = split(5000, num_classes=4)
    share = np.mean([float((corrupted(train, s, rate=0.4, inclusive=True) != train.labels).double().mean()) for s in range(20)])
    assert share == pytest.approx(0.4 * 3 / 4, abs=0.004)
    assert corrupted(train, rate=0.0, inclusive=True).equal(train.labels)


def test_pair_goes_to_the_next_class_and_the_last_to_the_first() -> None:
    train = split(500, num_classes=6)
    found = flips(train, corrupted(train, noise="pair", rate=1.0))
    assert set(found) == {(c, (c + 1) % 6) for c in range(6)}


def test_shipped_maps_are_the_published_ones() -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    spelled = {(names[source], names[to]) for source, to in MAPS["cifar10"].items()}
    assert spelled == {
        ("truck", "automobile"),
        ("bird", "airplane"),
        ("deer", "horse"),
        ("cat", "dog"),
        ("dog", "cat"),
    }
    assert MAPS["mnist"] == {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}


@pytest.mark.parametrize("given", [{0: 2, 1: 0}, {"0": 2, "1": "0"}])
def test_an_own_map_is_followed_and_classes_spelled_as_text_are_read(given: dict[Any, Any]) -> None:
    train = split(200, num_classes=3, dataset="mine")
    assert set(flips(train, corrupted(train, noise="asymmetric", rate=1.0, map=given))) == {(0, 2), (1, 0)}


def test_a_shipped_map_serves_another_data_set_by_name() -> None:
    train = split(200, dataset="digits")
    assert set(flips(train, corrupted(train, noise="asymmetric", rate=1.0, map="mnist"))) == set(MAPS["mnist"].items())


@pytest.mark.parametrize("noise", ["symmetric", "pair", "asymmetric"])
def test_same_seed_same_labels_other_seed_others(noise: str) -> None:
    train = split(300)
    assert corrupted(train, 1, noise=noise).equal(corrupted(train, 1, noise=noise))
    assert not corrupted(train, 1, noise=noise).equal(corrupted(train, 2, noise=noise))


@pytest.mark.parametrize("noise", ["symmetric", "pair", "asymmetric"])
def test_flips_of_a_lower_rate_are_among_those_of_a_higher(noise: str) -> None:
    train = split(300)
    low, high = corrupted(train, noise=noise, rate=0.2), corrupted(train, noise=noise, rate=0.5)
    flipped = low != train.labels
    assert high[flipped].equal(low[flipped])


def test_the_given_split_and_the_global_generators_stay_as_they_were() -> None:
    train = split(100)
    before = train.labels.clone()
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    for noise in ("symmetric", "pair", "asymmetric"):
        result = LabelNoise(noise=noise, rate=0.0).corrupt(train, torch.Generator().manual_seed(0))
        assert result.labels.data_ptr() != train.labels.data_ptr()
        assert result.images is train.images
        assert result.rows is train.rows
        corrupted(train, noise=noise, rate=1.0)
    assert train.labels.equal(before)
    assert torch.get_rng_state().equal(torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_labels_return_to_the_splits_device_and_are_the_cpus() -> None:
    train = split(300)
    there = Split(train.images.cuda(), train.labels.cuda(), train.rows.cuda(), 10, "cifar10", train.total)
    for noise in ("symmetric", "pair", "asymmetric"):
        labels = corrupted(there, noise=noise)
        assert labels.is_cuda
        assert labels.cpu().equal(corrupted(train, noise=noise))


def write(folder: Path, suffix: str, labels: np.ndarray[Any, Any]) -> tuple[str, str | None]:
    path = folder / f"labels{suffix}"
    if suffix == ".npz":
        np.savez(path, worse_label=labels, clean_label=labels * 0)
        return str(path), "worse_label"
    np.save(path, labels) if suffix == ".npy" else path.write_text("\n".join(map(str, labels.tolist())))
    return str(path), None


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".txt"])
def test_a_file_is_read_by_the_rows_of_the_data_set(tmp_path: Path, suffix: str) -> None:
    train = split(40)
    given = np.random.default_rng(3).integers(0, 10, size=120)
    file, key = write(tmp_path, suffix, given)
    assert corrupted(train, noise="file", file=file, key=key).tolist() == [given[row] for row in train.rows.tolist()]


def test_refused_files_are_told_in_one_line(tmp_path: Path) -> None:
    train = split(40)
    good = np.zeros(120, dtype=np.int64)
    np.save(tmp_path / "short.npy", good[:100])
    np.save(tmp_path / "long.npy", np.zeros(121, dtype=np.int64))
    np.save(tmp_path / "foreign.npy", np.where(np.arange(120) == 17, 10, 0))
    np.save(tmp_path / "float.npy", good / 2)
    np.save(tmp_path / "square.npy", good.reshape(2, 60))
    np.save(tmp_path / "pickled.npy", np.array({"worse_label": good}, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "keys.npz", worse_label=good)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "header.npy").write_bytes((tmp_path / "short.npy").read_bytes().replace(b")", b" ", 1))  # found by fuzzing
    (tmp_path / "words.txt").write_text("1\ncat\n")
    (tmp_path / "labels.csv").write_text("1\n2\n")
    cases: list[tuple[str, str | None, str]] = [
        ("missing.npy", None, "there is no file"),
        ("short.npy", None, "holds 100 labels, but cifar10 has 120 training examples"),
        ("long.npy", None, "holds 121 labels, but cifar10 has 120 training examples"),
        ("foreign.npy", None, "class 10 in row 17, but cifar10 has 0 to 9"),
        ("float.npy", None, "float64 of shape (120,)"),
        ("square.npy", None, "int64 of shape (2, 60)"),
        ("pickled.npy", None, "allow_pickle=False"),
        ("keys.npz", None, "needs 'key', the array's name; known: worse_label"),
        ("keys.npz", "worst_label", "has no array 'worst_label'; did you mean 'worse_label'?"),
        ("broken.npz", "x", "does not parse"),
        ("empty.npy", None, "does not parse"),
        ("header.npy", None, "does not parse"),
        ("words.txt", None, "'cat'"),
        ("labels.csv", None, "neither .npy, .npz nor .txt"),
        ("short.npy", "x", "key='x' is for .npz files"),
    ]
    for name, key, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            corrupted(train, noise="file", file=str(tmp_path / name), key=key)
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1.2}, "rate=1.2 is not possible (allowed: 0 to 1)"),
        ({"rate": float("nan")}, "allowed: 0 to 1"),
        ({"noise": "asymetric"}, "symmetric | pair | asymmetric | semantic | instance"),
        ({"noise": "pair", "inclusive": True}, "noise: pair does not read it; symmetric does"),
        ({"noise": "symmetric", "map": "mnist"}, "noise: symmetric does not read it; asymmetric | semantic does"),
        ({"noise": "pair", "file": "x.npy"}, "noise: pair does not read it; proto | margin | file does"),
        ({"noise": "file", "file": "x.npy", "rate": 0.2}, "noise: file does not read it; symmetric | pair | "),
        ({"noise": "file"}, "needs 'file'"),
        ({"noise": "asymmetric", "map": "cifar01"}, "did you mean 'cifar10'?"),
        ({"noise": "asymmetric", "map": {}}, "is empty"),
        ({"noise": "asymmetric", "map": {1: 1}}, "sends class 1 to itself"),
        ({"noise": "asymmetric", "map": {1: 2, "1": 3}}, "names class 1 twice"),
        ({"noise": "asymmetric", "map": {-1: 2}}, "has -1: 2"),
        ({"noise": "asymmetric", "map": {1: "cat"}}, "has 1: 'cat'"),
        ({"noise": "asymmetric", "map": {True: 0}}, "has True: 0"),
    ],
)
def test_impossible_settings_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        LabelNoise(**settings)
    assert "\n" not in str(caught.value)


def test_what_only_the_data_can_tell_is_refused_at_corruption() -> None:
    with pytest.raises(UserError, match=r"no asymmetric map is known for data set 'kmnist'.*cifar10, digits.*\{class: class\}"):
        corrupted(split(20, dataset="kmnist"), noise="asymmetric")
    with pytest.raises(UserError, match="map names class 9, but tiny has 0 to 2"):
        corrupted(split(20, num_classes=3, dataset="tiny"), noise="asymmetric", map={9: 1})
    with pytest.raises(UserError, match="map names class 3, but tiny has 0 to 2"):
        corrupted(split(20, num_classes=3, dataset="tiny"), noise="asymmetric", map={0: 3})
    with pytest.raises(UserError, match="one has 1 class"):
        corrupted(split(20, num_classes=1, dataset="one"))


def test_settings_come_back_from_yaml_and_clean_changes_nothing() -> None:
    noise = LabelNoise(noise="asymmetric", rate=0.2, map={0: 1})
    assert LabelNoise.from_settings(noise.settings(), "scenarios.x") == noise
    assert registry.load("scenarios", "label-noise", Scenario) is LabelNoise
    train = split(10)
    assert Clean().corrupt(train, torch.Generator()) is train
