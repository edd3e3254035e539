"""A data set as plain arrays, by name, from a file or from a folder of images. What is damaged is refused, not trained on."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from robuststream.contracts import Stored
from robuststream.data import catalog, folder, vision
from robuststream.data.catalog import CATALOG, DIGITS, DataSet
from robuststream.data.stored import open_stored
from robuststream.errors import UserError

FOLDER_VARIABLE = "ROBUSTSTREAM_DATA"
"""Environment variable: the folder that holds NAME.npz files and torchvision's own folders."""

DIGITS_TEST_STATE = 20240
"""scikit-learn's digits have no official test split: ours is 20 %, stratified, drawn with this state for every seed."""

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Arrays:
    """A whole data set in its own order. The arrays are read-only: many runs of one process share them."""

    train_images: np.ndarray  # (N, H, W, C) uint8, C = 1 or 3
    train_labels: np.ndarray  # (N,) int64, 0..K-1
    test_images: np.ndarray  # (M, H, W, C) uint8
    test_labels: np.ndarray  # (M,) int64
    num_classes: int  # K
    stored: Stored | None = None  # the training images, where they stay on disk: `train_images` is empty then
    stored_print: str = ""  # and what tells them from others: names, sizes and times of the files

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 over shapes and contents."""
        digest = hashlib.sha256(self.stored_print.encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
            digest.update(array.data)
        return digest.hexdigest()[:16]


def load_arrays(name: str, stored: bool = False) -> Arrays:
    """A catalogue name, `path/file.npz` with four arrays, or a folder with train/CLASS/ and test/CLASS/.

    A folder may hold the four arrays as .npy as well; with `stored` its training images stay on disk.
    Kept for the life of the process. Raises UserError with one line that says what is missing or damaged.
    """
    place = os.environ.get(FOLDER_VARIABLE, "")
    if stored:
        if name in CATALOG:
            raise UserError(f"stored=true is not possible with '{name}' (its images are in memory as soon as they are here)")
        return _load_stored(str(Path(name).expanduser().absolute()), name)
    return _load(name if name in CATALOG else str(Path(name).expanduser().absolute()), name, place)


@lru_cache(maxsize=2)
def _load(key: str, name: str, place: str) -> Arrays:
    """`key` is the name made absolute, so that a change of working directory is another data set."""
    path = Path(key)
    if name in CATALOG:
        return _from_catalog(CATALOG[name], Path(place).expanduser() if place else None)
    catalog.require(name)
    return _checked(folder.read(path) if path.is_dir() else _read_npz(path), name)


@lru_cache(maxsize=2)
def _load_stored(key: str, name: str) -> Arrays:
    catalog.require(name)
    disk, found = open_stored(Path(key))
    # Checked as others are, but of the training images only the first: to see damage behind it is to read them all.
    labels, first = found["train_labels"], disk.read(torch.zeros(1, dtype=torch.int64)).numpy()
    checked = _checked({**found, "train_images": first, "train_labels": _labels(labels, f"{name}: train_labels")}, name, one=True)
    return replace(checked, train_images=checked.train_images[:0], stored=disk, stored_print=catalog.fingerprint(name))


def _from_catalog(entry: DataSet, place: Path | None) -> Arrays:
    if place is not None and (place / f"{entry.name}.npz").is_file():
        return _checked(_read_npz(place / f"{entry.name}.npz"), f"{entry.name}.npz", entry)
    if entry.name == DIGITS:
        return _checked(_digits(), entry.name, entry)
    root = place or Path("~/.cache/robuststream").expanduser()
    try:
        return _checked(vision.read(entry, root), entry.name, entry)
    except vision.Unavailable as error:
        raise UserError(
            f"data set '{entry.name}' is not here: put {entry.name}.npz into the folder that {FOLDER_VARIABLE} names, "
            f"or connect to a network so that torchvision can download it into {root} ({error})"
        ) from None


def _digits() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    rows = np.arange(len(images))
    train, test = map(np.sort, train_test_split(rows, test_size=0.2, stratify=labels, random_state=DIGITS_TEST_STATE))
    return dict(zip(_ARRAYS, (images[train], labels[train], images[test], labels[test]), strict=True))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no npz file, or one that was cut short")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)}; it must hold {', '.join(_ARRAYS)}")
            return {name: file[name] for name in _ARRAYS}
    except UserError:
        raise
    except Exception as error:  # whatever a torn or foreign file makes of the reader
        raise UserError(f"{path} is damaged or holds more than plain arrays: {' '.join(str(error).split())}") from None


def _checked(found: dict[str, np.ndarray], where: str, entry: DataSet | None = None, one: bool = False) -> Arrays:
    """Refuse what cannot be trained on; bring the rest to NHWC uint8, int64, read-only. `one` image stands for all of train."""
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_images"] = _images(found[f"{part}_images"], f"{where}: {part}_images")
        arrays[f"{part}_labels"] = _labels(found[f"{part}_labels"], f"{where}: {part}_labels")
        images, labels = len(arrays[f"{part}_images"]), len(arrays[f"{part}_labels"])
        if images != labels and not (one and part == "train"):
            raise UserError(f"{where}: {images} {part}_images but {labels} {part}_labels")
    shape, test_shape = (arrays[f"{part}_images"].shape[1:] for part in ("train", "test"))
    if shape != test_shape:
        raise UserError(f"{where}: train images are {_size(shape)}, test images are {_size(test_shape)}")
    if entry is not None and shape != (wanted := (*entry.shape[1:], entry.shape[0])):
        raise UserError(f"{where}: images are {_size(shape)}; those of {entry.name} are {_size(wanted)}")
    num_classes = _classes(arrays["train_labels"], arrays["test_labels"], where, entry)
    for array in arrays.values():
        array.flags.writeable = False
    return Arrays(**arrays, num_classes=num_classes)


def _images(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise UserError(f"{where} must be uint8 (0 to 255), not {array.dtype}")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise UserError(f"{where} must be (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {array.shape}")
    if array.size == 0:
        raise UserError(f"{where} holds no examples")
    return np.ascontiguousarray(array)


def _labels(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(f"{where} must be whole numbers in one dimension, not {array.dtype} of shape {array.shape}")
    labels = array.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise UserError(f"{where} holds {labels.min()}; labels are 0 to K-1")
    return labels


def _classes(train: np.ndarray, test: np.ndarray, where: str, entry: DataSet | None) -> int:
    """K, once every label 0..K-1 has a training example."""
    present = np.unique(train)
    num_classes = entry.num_classes if entry else max(2, int(present[-1]) + 1)
    if present[-1] >= num_classes:
        raise UserError(f"{where}: train_labels hold {present[-1]}; {num_classes} classes are labelled 0 to {num_classes - 1}")
    if len(present) < num_classes:
        known = set(present.tolist())
        absent = next(label for label in range(num_classes) if label not in known)
        raise UserError(f"{where}: no training example has label {absent}; labels are 0 to K-1 without a gap")
    if test.max() >= num_classes:
        raise UserError(f"{where}: test_labels hold {test.max()}, a class without a training example")
    return num_classes


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
