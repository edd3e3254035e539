"""Noise by picture, by shape, by look-alikes and by people: exact budgets, twins, statistics over seeds, refusals."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from robuststream.contracts import Split
from robuststream.data.load import FOLDER_VARIABLE
from robuststream.data.splits import load_splits
from robuststream.errors import UserError
from robuststream.scenarios import _autoencoder
from robuststream.scenarios._noise_classes import TWO_EACH, edge_counts
from robuststream.scenarios._noise_embedding import geometry
from robuststream.scenarios._noise_instance import propensities
from robuststream.scenarios._noise_shared import wrong_class
from robuststream.scenarios.label_noise import LabelNoise
from twins import _noise as twins

EXACT = ("semantic", "instance", "proto", "margin")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder, where embeddings are kept, is the test's own; the autoencoder takes few steps."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_autoencoder, "STEPS", 20)


def split(size: int, num_classes: int = 10, dataset: str = "cifar10") -> Split:
    """Pictures that resemble their class; rows are every third of the data set's own, last first."""
    rng = np.random.default_rng(7)
    labels = torch.from_numpy(rng.integers(0, num_classes, size))
    centres = rng.uniform(0, 255, (num_classes, 1, 4, 4))
    images = np.clip(centres[labels.numpy()] + rng.normal(0, 60, (size, 1, 4, 4)), 0, 255).astype(np.uint8)
    return Split(torch.from_numpy(images), labels, torch.arange(size).flip(0) * 3, num_classes, dataset, 3 * size)


def embedding(train: Split, folder: Path) -> tuple[str, np.ndarray[Any, Any]]:
    """A file of one row per example of the whole data set, and the pool's rows of it."""
    whole = np.random.default_rng(1).normal(size=(train.total, 5))
    whole[train.rows.numpy(), 0] += train.labels.numpy()
    np.save(folder / "embedding.npy", whole)
    return str(folder / "embedding.npy"), whole[train.rows.numpy()]


def corrupted(train: Split, seed: int = 0, **settings: Any) -> list[int]:
    return LabelNoise(**settings).corrupt(train, torch.Generator().manual_seed(seed)).labels.tolist()


@pytest.mark.parametrize("noise", EXACT)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.4, 0.777, 1.0])
@pytest.mark.parametrize("size", [1, 3, 4, 101])
def test_exactly_round_rate_n_flip_at_any_rate_and_in_pools_smaller_than_the_classes(noise: str, rate: float, size: int) -> None:
    train = split(size)
    for seed in range(3):
        noisy = corrupted(train, seed, noise=noise, rate=rate)
        assert sum(a != b for a, b in zip(noisy, train.labels.tolist(), strict=True)) == round(rate * size)
        assert set(noisy) <= set(range(10))


@pytest.mark.parametrize("rate", [0.0, 0.13, 0.4, 1.0])
@pytest.mark.parametrize(("size", "classes"), [(3, 10), (120, 4)])
def test_twins_agree(rate: float, size: int, classes: int, tmp_path: Path) -> None:
    train = split(size, classes, "mine")
    labels, (file, rows) = train.labels.tolist(), embedding(train, tmp_path)
    links = {0: [1, 2], 1: [3], 2: [0, 1, 3], 3: [2, 0]}
    for seed in range(5):
        known = {"rate": rate, "seed": seed}
        assert corrupted(train, noise="instance", **known) == twins.instance(train.images, labels, classes, **known)
        assert corrupted(train, noise="proto", file=file, **known) == twins.proto(rows, labels, classes, **known)
        assert corrupted(train, noise="margin", file=file, **known) == twins.margin(rows, labels, classes, **known)
        assert corrupted(train, noise="semantic", map=links, **known) == twins.semantic(labels, links, **known)


def test_semantic_counts_are_the_nearest_whole_ones() -> None:
    counts = edge_counts([10, 0, 7], {0: [1, 2], 1: [0, 2], 2: [0, 1]}, 7)
    assert sum(counts.values()) == 7
    assert all(abs(count - 7 * (10, 0, 7)[source] / 34) < 1 for (source, _), count in counts.items())
    assert counts[1, 0] == counts[1, 2] == 0
    found = Counter(
        zip((train := split(997)).labels.tolist(), corrupted(train, noise="semantic", rate=0.4), strict=True)
    )  # over the whole pool every edge gets a fifth of its class
    for source, targets in TWO_EACH["cifar10"].items():
        size = int((train.labels == source).sum())
        assert {to for (a, to) in found if a == source} == {source, *targets}
        assert all(abs(found[source, to] - 0.2 * size) <= 1 for to in targets)


def test_the_published_look_alikes_have_two_ways_in_and_two_out() -> None:
    arrivals = Counter(to for targets in TWO_EACH["cifar10"].values() for to in targets)
    assert set(arrivals.values()) == {2}
    assert all(len(set(targets) - {source}) == 2 for source, targets in TWO_EACH["cifar10"].items())


def test_without_a_published_graph_look_alikes_are_the_nearest_mean_images() -> None:
    train = split(200, 5, "mine")
    means = {c: train.images[train.labels == c].double().mean(0) for c in range(5)}
    found = {(a, b) for a, b in zip(train.labels.tolist(), corrupted(train, noise="semantic", rate=1.0), strict=True)}
    for source in range(5):
        near = sorted((float((means[source] - means[c]).norm()), c) for c in range(5) if c != source)[:2]
        assert {b for a, b in found if a == source} == {c for _, c in near}


def test_propensities_have_the_cut_normal_distribution() -> None:
    for rate in (0.0, 0.05, 0.4, 1.0):
        found = propensities(4000, rate, torch.Generator().manual_seed(3)).numpy()
        assert found.min() >= 0
        assert found.max() <= 1
        law = stats.truncnorm((0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        assert stats.kstest(found, law.cdf).pvalue > 1e-3


def test_a_wrong_class_is_drawn_by_its_softmax() -> None:
    logits, count = torch.tensor([0.3, -1.0, 2.0, 0.0]), 20_000
    drawn = wrong_class(logits.expand(count, 4), torch.full((count,), 2), torch.Generator().manual_seed(0))
    chance = logits[[0, 1, 3]].softmax(0).double().numpy()
    seen = torch.bincount(drawn, minlength=4).numpy()
    assert seen[2] == 0
    assert stats.chisquare(seen[[0, 1, 3]], chance / chance.sum() * count).pvalue > 1e-3


def test_instance_and_proto_flip_every_position_equally_often_over_seeds(tmp_path: Path) -> None:
    train = split(30, 4, "mine")
    file, _ = embedding(train, tmp_path)
    for settings in ({"noise": "instance"}, {"noise": "proto", "file": file}, {"noise": "semantic"}):
        hits = np.zeros(30)
        for seed in range(600):
            hits += np.array(corrupted(train, seed, rate=0.3, **settings)) != train.labels.numpy()
        assert hits.sum() == 600 * 9
        if settings["noise"] == "semantic":  # classes give in proportion to whole numbers; within one all are alike
            for own in (np.flatnonzero(train.labels.numpy() == c) for c in range(4)):
                assert len(own) < 2 or stats.chisquare(hits[own]).pvalue > 1e-3
        else:
            assert stats.chisquare(hits).pvalue > 1e-3


def test_margin_flips_the_same_examples_whatever_the_seed_and_a_higher_rate_keeps_them(tmp_path: Path) -> None:
    train = split(60, 4, "mine")
    file, _ = embedding(train, tmp_path)
    clean = train.labels.tolist()

    def flipped(rate: float, seed: int) -> dict[int, int]:
        noisy = corrupted(train, seed, noise="margin", rate=rate, file=file)
        return {place: b for place, (a, b) in enumerate(zip(clean, noisy, strict=True)) if a != b}

    assert flipped(0.2, 0).keys() == flipped(0.2, 1).keys()
    assert flipped(0.2, 0).items() <= flipped(0.5, 0).items()


def test_a_class_without_examples_is_as_far_as_chance() -> None:
    cosine, prototypes = geometry(
        torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 2, 2, 2, 0]), 4
    )
    assert cosine[:, [1, 3]].eq(0).all()
    assert prototypes.norm(dim=1).tolist() == pytest.approx([1, 0, 1, 0])
    assert geometry(torch.ones(1, 3), torch.tensor([1]), 2)[0].isfinite().all()


def test_the_embedding_is_trained_once_and_repeats_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = split(40)
    state = torch.get_rng_state()
    one = _autoencoder.embed(train.images, 5)
    assert one.shape == (40, 2)
    assert one.equal(_autoencoder.embed(train.images, 5, tmp_path / "elsewhere"))
    assert not one.equal(_autoencoder.embed(train.images, 6))
    assert torch.get_rng_state().equal(state)
    monkeypatch.setattr(_autoencoder, "_train", lambda *_: pytest.fail("trained twice"))
    assert one.equal(_autoencoder.embed(train.images, 5))


def test_a_damaged_or_unwritable_cache_costs_time_only(tmp_path: Path) -> None:
    train = split(20)
    one = _autoencoder.embed(train.images, 0, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"torn")
    assert one.equal(_autoencoder.embed(train.images, 0, tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    assert one.equal(_autoencoder.embed(train.images, 0, tmp_path / "file"))


def test_more_steps_rebuild_the_pictures_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it learns: examples of one class lie closer in the bottleneck than before training."""
    train = split(300, 4)

    def margins(steps: int) -> float:
        monkeypatch.setattr(_autoencoder, "STEPS", steps)
        cosine, _ = geometry(_autoencoder._train(train.images.flatten(1), 0), train.labels, 4)
        return float(cosine.gather(1, train.labels[:, None]).mean())

    assert margins(400) > margins(0)


def human_arrays(train: Split) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(2)
    clean = rng.integers(0, train.num_classes, train.total)
    clean[train.rows.numpy()] = train.labels.numpy()
    return {"clean_label": clean, "worse_label": (clean + (rng.random(train.total) < 0.4)) % 10, "aggre_label": (clean + 1) % 10}


def test_peoples_labels_go_to_their_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = split(50)
    arrays = human_arrays(train)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    np.savez(tmp_path / "cifar10n.npz", **arrays)
    assert corrupted(train, noise="cifar10n") == [arrays["worse_label"][row] for row in train.rows.tolist()]
    assert corrupted(train, noise="cifar10n", key="aggre_label") == [arrays["aggre_label"][row] for row in train.rows.tolist()]
    before = LabelNoise(noise="cifar10n").fingerprint()
    np.savez(tmp_path / "cifar10n.npz", **arrays | {"worse_label": arrays["clean_label"]})
    assert before != LabelNoise(noise="cifar10n").fingerprint() != ""


def test_a_file_of_peoples_labels_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = split(50)
    arrays = human_arrays(train)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    cases: list[tuple[dict[str, Any] | None, dict[str, Any], str]] = [
        (None, {}, "needs cifar10n.npz in the folder that ROBUSTSTREAM_DATA names"),
        ({name: values[::-1] for name, values in arrays.items()}, {}, "the file is in another order"),
        ({name: values[:-1] for name, values in arrays.items()}, {}, "holds 149 labels, but cifar10 has 150"),
        (arrays | {"worse_label": arrays["worse_label"] + 5}, {}, "but cifar10 has 0 to 9"),
        (arrays, {"key": "worst_label"}, "has no array 'worst_label'; did you mean 'worse_label'?"),
    ]
    for held, settings, message in cases:
        if held is not None:
            np.savez(tmp_path / "cifar10n.npz", **held)
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            corrupted(train, noise="cifar10n", **settings)
        assert "\n" not in str(caught.value)


DATA = Path(os.environ.get(FOLDER_VARIABLE, "."))


@pytest.mark.skipif(not (DATA / "cifar10n.npz").is_file() or not (DATA / "cifar10.npz").is_file(), reason="CIFAR-10N is not here")
def test_cifar10n_has_its_published_rates() -> None:
    """Wei et al., table 1: 9.01 % aggregate, 17.23, 18.12, 17.64 % random, 40.21 % worst, over all 50,000 in their order."""
    train = load_splits("cifar10", validation=0.001, train_size=None, seed=0, device="cpu").train
    held = np.load(DATA / "cifar10n.npz")
    published = {
        "aggre_label": 9.01,
        "random_label1": 17.23,
        "random_label2": 18.12,
        "random_label3": 17.64,
        "worse_label": 40.21,
    }
    for key, rate in published.items():
        noisy = np.array(corrupted(train, noise="cifar10n", key=key))
        assert (noisy == held[key][train.rows.numpy()]).all()
        assert round(100 * float((held[key] != held["clean_label"]).mean()), 2) == pytest.approx(rate, abs=0.006)
        assert 100 * float((noisy != train.labels.numpy()).mean()) == pytest.approx(rate, abs=0.05)


def test_an_embedding_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train = split(10)
    good = np.zeros((30, 2))
    np.save(tmp_path / "short.npy", good[:29])
    np.save(tmp_path / "flat.npy", good[:, 0])
    np.save(tmp_path / "words.npy", np.full((30, 2), "a"))
    np.save(tmp_path / "nan.npy", np.where(np.arange(30)[:, None] == 4, np.nan, good))
    np.savez(tmp_path / "keyed.npz", bottleneck=good)
    for file, message in {
        "gone.npy": "there is no file",
        "short.npy": "holds 29 rows, but cifar10 has 30 training examples",
        "flat.npy": "float64 of shape (30,), not (examples, dimensions)",
        "words.npy": "not (examples, dimensions) of numbers",
        "nan.npy": "numbers that are not finite",
        "keyed.npz": "needs 'key', the array's name; known: bottleneck",
        "labels.txt": "there is no file",
    }.items():
        for noise in ("proto", "margin"):
            with pytest.raises(UserError, match=re.escape(message)) as caught:
                corrupted(train, noise=noise, file=str(tmp_path / file))
            assert "\n" not in str(caught.value)
    assert len(corrupted(train, noise="proto", file=str(tmp_path / "keyed.npz"), key="bottleneck")) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "margin", "rate": -0.1}, "allowed: 0 to 1"),
        ({"noise": "margin", "key": "x"}, "it names an array of 'file', and there is none"),
        ({"noise": "cifar10n", "rate": 0.2}, "noise: cifar10n does not read it"),
        ({"noise": "semantic", "map": {1: [2, 1]}}, "map sends class 1 to itself"),
        ({"noise": "semantic", "map": {1: [2, 2]}}, "map sends class 1 twice to the same class"),
        ({"noise": "semantic", "map": {1: []}}, "map has 1: []"),
        ({"noise": "semantic", "map": "mnist"}, "no such map; known: cifar10"),
    ],
)
def test_impossible_settings_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        LabelNoise(**settings)
    assert "\n" not in str(caught.value)


def test_one_class_to_one_is_asked_of_an_asymmetric_map() -> None:
    with pytest.raises(UserError, match="map gives class 1 2 classes; noise: semantic takes several"):
        corrupted(split(10), noise="asymmetric", map={1: [2, 3]})


def test_foreign_images_keep_their_labels_where_a_table_goes_by_rows(tmp_path: Path) -> None:
    """After open-set noise an example has no row in the data set: no file may say anything of it."""
    train = split(20)
    train = replace(train, rows=torch.where(torch.arange(20) < 5, -1, train.rows))
    np.save(tmp_path / "labels.npy", np.full(60, 9))
    noisy = corrupted(train, noise="file", file=str(tmp_path / "labels.npy"))
    assert noisy == train.labels.tolist()[:5] + [9] * 15
    file, _ = embedding(train, tmp_path)
    assert (
        sum(a != b for a, b in zip(corrupted(train, noise="proto", file=file, rate=1.0), train.labels.tolist(), strict=True))
        == 20
    )


def test_digits_and_fashion_have_maps_of_their_own() -> None:
    for dataset, map in (("digits", {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}), ("fashion-mnist", {9: 7, 7: 5, 2: 6, 4: 3, 3: 4})):
        train = split(300, dataset=dataset)
        noisy = corrupted(train, noise="asymmetric", rate=1.0)
        assert {(a, b) for a, b in zip(train.labels.tolist(), noisy, strict=True) if a != b} == set(map.items())
