"""Data: right numbers from every source, damaged data refused in one line, splits that never leak, batches as their twin."""

from __future__ import annotations

import os
import re
import socket
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision import datasets

from robuststream.contracts import Split
from robuststream.data import _native
from robuststream.data.batches import Batches
from robuststream.data.catalog import CATALOG, names
from robuststream.data.load import load_arrays
from robuststream.data.scale import Scale
from robuststream.data.splits import load_splits
from robuststream.errors import UserError

REAL = Path(os.environ.get("ROBUSTSTREAM_DATA", "/nowhere"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ROBUSTSTREAM_DATA, no network, and the temporary folder to work in."""

    def no_network(*args: object, **options: object) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setenv("ROBUSTSTREAM_DATA", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def some_arrays(shape: tuple[int, ...] = (6, 5, 3), classes: int = 3, per_class: int = 8) -> dict[str, Any]:
    """A valid data set of random pixels: as many test examples as training examples, classes in turn."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, classes * per_class, *shape), dtype=np.uint8)
    labels = np.tile(np.arange(classes), per_class)
    return {"train_images": images[0], "train_labels": labels, "test_images": images[1], "test_labels": labels}


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Sources


def test_digits_are_all_of_scikit_learns_split_once_and_stratified() -> None:
    arrays = load_arrays("digits")
    bunch = load_digits()
    ours = np.concatenate([arrays.train_images, arrays.test_images])[..., 0].astype(int)
    theirs = np.floor(bunch.images * 255 / 16 + 0.5).astype(int)
    assert sorted(map(bytes, ours.astype(np.uint8))) == sorted(map(bytes, theirs.astype(np.uint8)))
    assert len(arrays.test_labels) == 360
    share = np.bincount(arrays.test_labels) / np.bincount(bunch.target)
    assert np.abs(share - 0.2).max() < 0.005


def test_arrays_are_shared_and_cannot_be_changed() -> None:
    arrays = load_arrays("digits")
    assert load_arrays("digits") is arrays
    with pytest.raises(ValueError, match="read-only"):
        arrays.train_images[0] = 0


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_own_file(home: Path, shape: tuple[int, ...]) -> None:
    given = some_arrays(shape)
    np.savez(home / "own.npz", **given)
    arrays = load_arrays("own.npz")
    assert arrays.num_classes == 3
    assert arrays.test_images.shape == (24, 6, 5, shape[2] if len(shape) == 3 else 1)
    np.testing.assert_array_equal(arrays.train_images.reshape(24, *shape), given["train_images"])
    np.testing.assert_array_equal(arrays.test_labels, given["test_labels"])


def test_hash_sees_one_pixel_and_one_label(home: Path) -> None:
    given, hashes = some_arrays(), set()
    for name in ("same", "same-again", "train_images", "test_labels"):
        changed = {key: value.copy() for key, value in given.items()}
        if name in changed:
            changed[name].flat[7] ^= 1
        np.savez(home / f"{name}.npz", **changed)
        hashes.add(load_arrays(f"{name}.npz").hash)
    assert len(hashes) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", found) for found in hashes)


def test_catalogue_file_belongs_to_its_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders that hold the same name are two data sets, within one process."""
    hashes = []
    for folder, shade in (("a", 0), ("b", 1)):
        (home / folder).mkdir()
        given = some_arrays((28, 28), classes=10)
        given["train_images"][0, 0, 0] = shade
        np.savez(home / folder / "kmnist.npz", **given)
        monkeypatch.setenv("ROBUSTSTREAM_DATA", str(home / folder))
        hashes.append(load_arrays("kmnist").hash)
    assert hashes[0] != hashes[1]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(("split", "classes", "first"), [("letters", 26, 1), ("balanced", 47, 0)])
def test_emnist_stands_upright_and_counts_from_zero(home: Path, split: str, classes: int, first: int) -> None:
    """torchvision's own files: letters lie transposed, and those of `letters` count from 1."""
    raw = home / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    upright = np.random.default_rng(0).integers(0, 256, (classes, 28, 28), dtype=np.uint8)
    for part in ("train", "test"):
        write_idx(raw / f"emnist-{split}-{part}-images-idx3-ubyte", upright.transpose(0, 2, 1))
        write_idx(raw / f"emnist-{split}-{part}-labels-idx1-ubyte", np.arange(classes) + first)
    arrays = load_arrays(f"emnist-{split}")
    np.testing.assert_array_equal(arrays.train_images[..., 0], upright)
    np.testing.assert_array_equal(arrays.test_labels, np.arange(classes))
    assert arrays.num_classes == classes


def test_svhn_channels_come_last(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 10, 3, 32, 32), dtype=np.uint8)

    class Fake:
        def __init__(self, root: Path, split: str, download: bool) -> None:
            self.data, self.labels = images[int(split == "test")], np.arange(10)

    monkeypatch.setattr(datasets, "SVHN", Fake)
    arrays = load_arrays("svhn")
    assert arrays.test_images[4, 30, 2, 1] == images[1, 4, 1, 30, 2]
    assert arrays.train_images[4, 30, 2, 1] == images[0, 4, 1, 30, 2]


@pytest.mark.skipif(not (REAL / "fashion-mnist.npz").is_file(), reason="ROBUSTSTREAM_DATA names no folder with fashion-mnist.npz")
def test_real_fashion_mnist() -> None:
    arrays = load_arrays("fashion-mnist")
    assert np.bincount(arrays.train_labels).tolist() == [6000] * 10
    assert arrays.train_images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)  # the mean that everybody normalises with


# Refusals


def test_unknown_and_absent_names_say_what_to_do(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    message = refusal(lambda: load_arrays("fashon-mnist"))
    assert "unknown data set 'fashon-mnist'; did you mean 'fashion-mnist'?" in message
    assert all(name in message for name in names())
    assert "no such file" in refusal(lambda: load_arrays("own.npz"))
    assert "no such folder" in refusal(lambda: load_arrays("own/images"))
    for name in sorted(set(CATALOG) - {"digits"}):
        message = refusal(lambda name=name: load_arrays(name))
        assert f"put {name}.npz into the folder that ROBUSTSTREAM_DATA names" in message
        assert "network" in message
    assert capfd.readouterr().out == ""


def part(name: str, value: Any) -> dict[str, Any]:
    return {**some_arrays(), name: value}


GOOD = some_arrays()
LABELS = GOOD["train_labels"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({key: value for key, value in GOOD.items() if key != "test_labels"}, "lacks test_labels"),
        (part("train_images", GOOD["train_images"] / 255), "train_images must be uint8 (0 to 255), not float64"),
        (part("train_images", GOOD["train_images"][:-1]), "23 train_images but 24 train_labels"),
        (part("test_images", GOOD["test_images"][:, :4]), "train images are 6 x 5 x 3, test images are 4 x 5 x 3"),
        (part("train_images", GOOD["train_images"][..., :2]), "not (24, 6, 5, 2)"),
        (part("train_images", np.zeros((0, 6, 5, 3), np.uint8)), "train_images holds no examples"),
        (part("test_images", np.zeros((0, 6, 5, 3), np.uint8)), "test_images holds no examples"),
        (part("train_labels", LABELS - 1), "train_labels holds -1"),
        (part("train_labels", LABELS + 1), "no training example has label 0"),
        (part("train_labels", np.where(LABELS == 1, 2, LABELS)), "no training example has label 1"),
        (part("train_labels", LABELS * 0), "no training example has label 1"),
        (part("train_labels", LABELS + 10**15 * (LABELS == 2)), "no training example has label 2"),
        (part("train_labels", LABELS.astype(float)), "must be whole numbers in one dimension, not float64"),
        (part("train_labels", np.eye(3, dtype=int)[LABELS]), "of shape (24, 3)"),
        (part("test_labels", LABELS + (LABELS == 2)), "test_labels hold 3, a class without a training example"),
        (part("train_labels", LABELS.astype(object)), "more than plain arrays"),
    ],
)
def test_damaged_arrays_are_refused(home: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(home / "own.npz", **arrays)
    message = refusal(lambda: load_arrays("own.npz"))
    assert words in message
    assert "own.npz" in message


def test_damaged_files_are_refused(home: Path) -> None:
    np.savez(home / "whole.npz", **some_arrays())
    content = (home / "whole.npz").read_bytes()
    (home / "cut.npz").write_bytes(content[: len(content) // 2])
    (home / "flipped.npz").write_bytes(content[:600] + bytes([content[600] ^ 255]) + content[601:])
    np.save(home / "single", np.zeros(3))
    (home / "single.npy").rename(home / "single.npz")
    assert "cut short" in refusal(lambda: load_arrays("cut.npz"))
    assert "cut short" in refusal(lambda: load_arrays("single.npz"))
    assert "damaged" in refusal(lambda: load_arrays("flipped.npz"))


def test_catalogue_file_of_other_data_is_refused(home: Path) -> None:
    np.savez(home / "mnist.npz", **some_arrays((32, 32, 3), classes=10))
    assert "images are 32 x 32 x 3; those of mnist are 28 x 28 x 1" in refusal(lambda: load_arrays("mnist"))
    np.savez(home / "kmnist.npz", **some_arrays((28, 28), classes=11))
    assert "train_labels hold 10; 10 classes" in refusal(lambda: load_arrays("kmnist"))


# A folder of images


def image_folder(root: Path, mode: str = "RGB") -> Path:
    rng = np.random.default_rng(2)
    for place in ("train/cat", "train/dog", "test/dog"):
        (root / place).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (6, 5, 3) if mode == "RGB" else (6, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(root / place / f"{i}.png")
    return root


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_image_folder(home: Path, mode: str, channels: int) -> None:
    root = image_folder(home / "pets", mode)
    (root / "train" / "notes.txt").write_text("no image")
    arrays = load_arrays(str(root))
    assert arrays.train_images.shape == (8, 6, 5, channels)
    assert arrays.train_labels.tolist() == [0] * 4 + [1] * 4
    assert arrays.test_labels.tolist() == [1] * 4  # dog is class 1, though test/ has no other class
    pixels = np.asarray(Image.open(root / "train" / "dog" / "2.png")).reshape(6, 5, channels)
    np.testing.assert_array_equal(arrays.train_images[6], pixels)


def damage(root: Path, how: str) -> None:
    first = root / "train" / "cat" / "0.png"
    if how == "test":
        (root / "test").rename(root / "other")
    elif how == "class":
        (root / "test" / "dog").rename(root / "test" / "wolf")
    elif how == "empty":
        for path in (root / "test" / "dog").iterdir():
            path.unlink()
    elif how == "unreadable":
        first.write_bytes(first.read_bytes()[:60])
    else:
        Image.new(*{"size": ("RGB", (6, 6)), "grey": ("L", (5, 6)), "mode": ("RGBA", (5, 6))}[how]).save(first)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("test", "has no folder test/"),
        ("class", "test/wolf is a class without a folder in train/"),
        ("empty", "test holds no images"),
        ("unreadable", "0.png cannot be read as an image"),
        ("size", "must be of one size"),
        ("grey", "must be of one size"),
        ("mode", "0.png is of mode RGBA; save it as 8-bit grey or RGB"),
    ],
)
def test_damaged_image_folder_is_refused(home: Path, how: str, words: str) -> None:
    damage(image_folder(home / "pets"), how)
    assert words in refusal(lambda: load_arrays("pets"))


# Splits


def splits(validation: float = 0.1, train_size: int | None = None, seed: int = 0, name: str = "digits"):
    return load_splits(name, validation=validation, train_size=train_size, seed=seed, device="cpu")


def test_splits_share_no_example_and_keep_their_rows() -> None:
    arrays, parts = load_arrays("digits"), splits(0.2)
    rows = torch.cat([parts.train.rows, parts.validation.rows])
    assert sorted(rows.tolist()) == list(range(len(arrays.train_labels)))
    assert parts.test.rows.tolist() == list(range(360))
    for part, images, labels in (
        (parts.train, arrays.train_images, arrays.train_labels),
        (parts.validation, arrays.train_images, arrays.train_labels),
        (parts.test, arrays.test_images, arrays.test_labels),
    ):
        assert part.images.dtype == torch.uint8
        np.testing.assert_array_equal(part.images.numpy(), images[part.rows].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(part.labels.numpy(), labels[part.rows])
    assert parts.data_hash == arrays.hash


@pytest.mark.parametrize(("validation", "train_size"), [(0.1, None), (0.37, None), (0.1, 200), (0.1, 1293), (0.1, 1283)])
def test_splits_are_stratified_and_of_the_size_asked_for(validation: float, train_size: int | None) -> None:
    total = np.bincount(load_arrays("digits").train_labels)
    parts = splits(validation, train_size)
    held_out = np.bincount(parts.validation.labels)
    kept = np.bincount(parts.train.labels)
    assert held_out.sum() == round(validation * total.sum())
    assert np.abs(held_out - total * held_out.sum() / total.sum()).max() <= 1
    assert kept.sum() == (train_size or total.sum() - held_out.sum())
    assert np.abs(kept - (total - held_out) * kept.sum() / (total - held_out).sum()).max() <= 1


def test_some_test_examples_are_the_same_for_every_seed_and_no_more_than_there_are() -> None:
    whole = splits().test
    for seed in (0, 1):
        some = load_splits("digits", validation=0.1, train_size=None, seed=seed, device="cpu", test_size=90).test
        assert some.rows.tolist() == list(range(0, 360, 4))
        assert torch.equal(some.images, whole.images[::4])
        assert torch.equal(some.labels, whole.labels[::4])
    with pytest.raises(UserError, match=r"digits: test_size=361 asks for more than there are; possible are 1 to 360"):
        load_splits("digits", validation=0.1, train_size=None, seed=0, device="cpu", test_size=361)


def test_the_seed_alone_decides_and_every_seed_is_possible() -> None:
    first, second = splits(train_size=300, seed=3), splits(train_size=300, seed=3)
    assert torch.equal(first.train.rows, second.train.rows)
    assert torch.equal(first.validation.rows, splits(train_size=500, seed=3).validation.rows)
    for other in (4, -1, 2**70):
        parts = splits(train_size=300, seed=other)
        assert not torch.equal(first.validation.rows, parts.validation.rows)
        assert torch.equal(first.test.rows, parts.test.rows)


def test_too_few_examples_are_refused_with_the_numbers(home: Path) -> None:
    assert "train_size=1294 asks for 1294 of 1293" in refusal(lambda: splits(train_size=1294))
    assert "train_size=9 asks for 9 of 1293 examples of 10 classes; possible are 10 to 1283" in refusal(
        lambda: splits(train_size=9)
    )
    assert "validation=0.001 asks for 1 of 1437" in refusal(lambda: splits(0.001))
    assert "validation=0.999" in refusal(lambda: splits(0.999))
    given = some_arrays()
    given["train_labels"] = np.array([2] + [0, 1] * 11 + [0])
    np.savez(home / "rare.npz", **given)
    assert "class 2 has one training example" in refusal(lambda: splits(0.3, name="rare.npz"))


# Mini-batches


def random_split(channels: int, height: int = 7, width: int = 5, size: int = 9) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, channels, height, width), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(size) % 3, torch.arange(size), 3, "random", size)


def twin(split: Split, index: torch.Tensor, crop: int, flip: bool, generator: torch.Generator, mode: str) -> np.ndarray:
    """One example after the other: pad, mirror, crop, divide. Draws the same numbers: offsets, then mirrors."""
    offsets = torch.randint(0, 2 * crop + 1, (2, len(index)), generator=generator).numpy()
    mirrored = torch.randint(0, 2, (len(index),), generator=generator).numpy() if flip else np.zeros(len(index))
    height, width = split.images.shape[2:]
    found = []
    for place, i in enumerate(index.tolist()):
        padded = np.pad(split.images[i].numpy(), ((0, 0), (crop, crop), (crop, crop)), mode)  # pyright: ignore
        top, left = offsets[:, place]
        turned = padded[:, :, ::-1] if mirrored[place] else padded
        found.append(turned[:, top : top + height, left : left + width].astype(np.float32) / np.float32(255))
    return np.stack(found)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize(("crop", "flip"), [(0, False), (2, False), (0, True), (2, True)])
def test_batches_are_those_of_the_slow_twin(channels: int, crop: int, flip: bool, mode: str) -> None:
    split = random_split(channels)
    batches = Batches(split, crop=crop, reflect=mode == "reflect", flip=flip, generator=torch.Generator().manual_seed(5))
    numbers = torch.Generator().manual_seed(5)
    for seed in range(20):
        index = torch.randint(0, 9, (16,), generator=torch.Generator().manual_seed(seed))  # with repeats
        images, labels = batches.fetch(index)
        np.testing.assert_array_equal(images.numpy(), twin(split, index, crop, flip, numbers, mode))
        assert torch.equal(labels, split.labels[index])
        plain, labels = batches.plain(index)
        np.testing.assert_array_equal(plain.numpy(), split.images[index].numpy().astype(np.float32) / np.float32(255))
        assert torch.equal(labels, split.labels[index])
        assert channels == 1 or (images.is_contiguous(memory_format=torch.channels_last) and plain.stride(1) == 1)
        assert channels == 3 or (images.is_contiguous() and plain.is_contiguous())


@pytest.mark.skipif(not list(Path(_native.__file__).parent.glob("_fetch*.so")), reason="the native fetch is not built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("crop", "reflect"), [(0, False), (1, False), (6, False), (1, True), (3, True)])  # 6: above a width
def test_the_native_fetch_has_the_bits_of_pure_torch(crop: int, reflect: bool, planar: bool, dtype: torch.dtype) -> None:
    """Gather, crop, mirror, normalise, round: in one pass as in torch's many, repeats and both memory formats included."""
    for channels in (1, 2, 3):
        split = random_split(channels)
        scale = Scale(torch.full((channels, 1, 1), 0.31), torch.full((channels, 1, 1), 0.27), dtype, planar)
        made = [
            Batches(split, crop=crop, reflect=reflect, flip=True, generator=torch.Generator().manual_seed(3), native=native)
            for native in (True, False)
        ]
        assert made[0]._native is not None
        index = torch.tensor([8, 0, 3, 3, 7, 1])
        for how in ("fetch", "plain"):
            (images, labels), (expected, expected_labels) = (getattr(batches, how)(index, scale) for batches in made)
            assert torch.equal(images, expected)
            assert torch.equal(labels, expected_labels)
            assert images.dtype == dtype
            assert channels == 1 or images.is_contiguous() == planar
        for outside in (9, -1):
            with pytest.raises(IndexError, match=rf"index {outside} at place 1 is not in 0\.\.8"):
                made[0].plain(torch.tensor([0, outside]))


def test_ready_images_are_what_the_network_makes_of_plain_ones() -> None:
    split = random_split(3)
    scale = Scale(torch.rand(3, 1, 1), torch.rand(3, 1, 1))
    images, _ = Batches(split).plain(torch.arange(9))
    assert torch.equal(Batches(split).plain(torch.arange(9), scale)[0], (images - scale.mean) / scale.std)


def test_crops_and_mirrors_are_uniform_and_new_for_every_repeat() -> None:
    """One image with one bright pixel in the middle, fetched 18,000 times in one batch: its place tells the offset."""
    images = torch.zeros(2, 1, 5, 5, dtype=torch.uint8)
    images[0, 0, 2, 2] = 255
    images[0, 0, 2, 1] = 128  # left of it, unless mirrored
    split = Split(images, torch.zeros(2, dtype=torch.int64), torch.arange(2), 2, "pixel", 2)
    batches = Batches(split, crop=1, flip=True, generator=torch.Generator().manual_seed(0))
    found = batches.fetch(torch.zeros(18_000, dtype=torch.int64))[0].flatten(1).numpy()
    bright = found.argmax(1)
    mirrored = found[np.arange(len(found)), bright + 1] > 0
    counts = np.unique(np.stack([bright, mirrored]), axis=1, return_counts=True)[1]
    assert len(counts) == 18
    assert stats.chisquare(counts).pvalue > 1e-4


def test_only_the_given_generator_moves_and_only_for_augmentation() -> None:
    split, index, generator = random_split(3), torch.arange(4), torch.Generator().manual_seed(0)
    everyone, own = torch.get_rng_state(), generator.get_state()
    Batches(split, generator=generator).fetch(index)
    Batches(split, crop=1, flip=True, generator=generator).plain(index)
    assert torch.equal(generator.get_state(), own)
    Batches(split, crop=1, flip=True, generator=generator).fetch(index)
    assert not torch.equal(generator.get_state(), own)
    assert torch.equal(torch.get_rng_state(), everyone)
    with pytest.raises(ValueError, match="needs a generator"):
        Batches(split, flip=True)


@pytest.mark.parametrize("crop", [0, 2])
def test_nothing_is_read_back_to_the_host(crop: int) -> None:
    """Fake tensors have no values: whatever asks for one raises."""
    with FakeTensorMode():
        split = Split(
            torch.empty(9, 3, 7, 5, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64), torch.arange(9), 3, "fake", 9
        )
        batches = Batches(split, crop=crop, flip=bool(crop), generator=torch.Generator())
        for images, labels in (batches.fetch(torch.arange(4)), batches.plain(torch.arange(4))):
            assert images.shape == (4, 3, 7, 5)
            assert labels.shape == (4,)
        with pytest.raises(Exception, match="local_scalar"):
            images.sum().item()
