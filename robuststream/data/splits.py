"""Training, validation and test parts of a data set. Validation is clean, stratified and never trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from robuststream.config import Recipe
from robuststream.contracts import Split
from robuststream.data.load import load_arrays
from robuststream.errors import UserError


@dataclass(frozen=True, slots=True)
class Splits:
    """The three parts of one run, with clean labels, on its device."""

    train: Split
    validation: Split
    test: Split
    data_hash: str  # 16 hex digits over the whole data set: the same for every seed


def load_splits(
    name: str,
    *,
    validation: float,
    train_size: int | None,
    seed: int,
    device: torch.device | str,
    test_size: int | None = None,
    stored: bool = False,
) -> Splits:
    """Load a data set (see `load_arrays`) and set a share `validation` of its training data aside.

    `train_size` keeps so many of the remaining training examples, stratified; None keeps all. Both draws depend on the seed
    alone. `test_size` keeps so many test examples, evenly spaced; None keeps all. Examples stay in the data set's order; `rows`
    says where they lie in it. Raises UserError with the numbers where the data are too few. With `stored` the training images
    stay on disk; those of validation and test do not.
    """
    arrays = load_arrays(name, stored)
    labels = arrays.train_labels
    rows, held_out = (each.copy() for each in _rows(name, stored, arrays.hash, validation, train_size, seed))
    whole = len(arrays.test_labels)
    if test_size is not None and test_size > whole:
        raise UserError(f"{name}: test_size={test_size} asks for more than there are; possible are 1 to {whole}")
    tested = evenly_spaced(whole, test_size or whole).numpy()

    def split(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Split:
        # Stays in the NHWC order of memory (channels_last), so that `Batches` need not copy it.
        pixels = torch.from_numpy(images[rows]).to(device).permute(0, 3, 1, 2)
        return Split(pixels, _tensor(labels[rows], device), _tensor(rows, device), arrays.num_classes, name, len(images))

    if arrays.stored is None:
        train, held = split(arrays.train_images, labels, rows), split(arrays.train_images, labels, held_out)
    else:
        height, width, channels = arrays.train_images.shape[1:]
        nowhere = torch.empty((len(rows), channels, height, width), dtype=torch.uint8, device="meta")
        facts = (arrays.num_classes, name, len(labels), arrays.stored)
        train = Split(nowhere, _tensor(labels[rows], device), _tensor(rows, device), *facts)
        pixels = arrays.stored.read(torch.from_numpy(held_out)).to(device).permute(0, 3, 1, 2)
        held = Split(pixels, _tensor(labels[held_out], device), _tensor(held_out, device), *facts[:3])
    return Splits(
        train=train,
        validation=held,
        test=split(arrays.test_images, arrays.test_labels, tested),
        data_hash=arrays.hash,
    )


def splits_of(recipe: Recipe, seed: int, device: torch.device | str) -> Splits:
    """`load_splits` of what a recipe says: the same for whoever trains a run and whoever looks at it later."""
    return load_splits(
        recipe.data,
        validation=recipe.validation,
        train_size=recipe.train_size,
        seed=seed,
        device=device,
        test_size=recipe.test_size,
        stored=recipe.stored,
    )


def evenly_spaced(size: int, most: int) -> Tensor:
    """(min(size, most),) ascending indices, evenly over 0..size-1: a data set that is sorted by class keeps its proportions."""
    count = min(size, most)
    return torch.arange(count) * size // count


def _tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(array).to(device)


@lru_cache(maxsize=2)
def _rows(
    name: str, stored: bool, data: str, validation: float, train_size: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of training and of validation; kept, for the arms of a seed are trained one after the other. `data` is its hash."""
    labels = load_arrays(name, stored).train_labels
    everything, count = np.arange(len(labels)), round(validation * len(labels))
    held_out = _stratified(everything, labels, count, f"{name}: validation={validation}", _state("validation", seed))
    rows = np.setdiff1d(everything, held_out)
    if train_size is not None and train_size != len(rows):
        rows = _stratified(rows, labels[rows], train_size, f"{name}: train_size={train_size}", _state("train_size", seed))
    return rows, held_out


def _state(stream: str, seed: int) -> int:
    """A seed for scikit-learn, in its range whatever the run's seed is, and another one for each purpose."""
    return int.from_bytes(hashlib.sha256(f"{stream} {seed}".encode()).digest()[:4])


def _stratified(rows: np.ndarray, labels: np.ndarray, count: int, what: str, state: int) -> np.ndarray:
    """`count` of the rows, each class in proportion, in ascending order. Both parts must hold as many as there are classes."""
    classes, sizes = np.unique(labels, return_counts=True)
    most = len(rows) - len(classes)
    if not len(classes) <= count <= most:
        limits = f"possible are {len(classes)} to {most}" if len(classes) <= most else "the data are too few to be split"
        raise UserError(f"{what} asks for {count} of {len(rows)} examples of {len(classes)} classes; {limits}")
    if sizes.min() < 2:
        raise UserError(f"{what}: class {classes[sizes.argmin()]} has one training example, a stratified split needs two")
    chosen, _ = train_test_split(rows, train_size=count, stratify=labels, random_state=state)
    return np.sort(chosen)
