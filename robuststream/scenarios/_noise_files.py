"""Labels that somebody else has written down: the user's own, and people's labels of CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robuststream.contracts import Split
from robuststream.data.load import FOLDER_VARIABLE
from robuststream.errors import UserError, meant
from robuststream.scenarios._noise_shared import Asked

HUMAN = {"cifar10n": "worse_label", "cifar100n": "noisy_label"}
"""Label files of Wei et al., ICLR 2022 (arXiv 2110.12088): NAME.npz in the data folder, and the array read without 'key'."""


def from_file(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Take the user's labels, one per row of the data set's own training order."""
    path = Path(asked.file or "").expanduser()
    return in_place(labels, train, _checked(read_labels(path, asked.key), train, path))


def human(labels: Tensor, train: Split, asked: Asked, generator: Generator) -> Tensor:
    """Take the labels that people gave (row i is training image i), once the file's own clean labels prove its order."""
    path = human_file(asked.noise)
    if not path.is_file():
        raise UserError(
            f"LabelNoise: noise: {asked.noise} needs {path.name} in the folder that {FOLDER_VARIABLE} names, and {path} is not "
            "there (arrays clean_label and the people's, one label per training image in the data set's own order)"
        )
    clean = _checked(read_labels(path, "clean_label"), train, path)
    differ = int((in_place(labels, train, clean) != labels).sum())
    if differ:
        raise UserError(
            f"LabelNoise: clean_label of {path} differs from {differ} of {len(labels)} labels of {train.dataset}: the file is in "
            "another order, or the labels were changed before"
        )
    return in_place(labels, train, _checked(read_labels(path, asked.key or HUMAN[asked.noise]), train, path))


def human_file(noise: str) -> Path:
    """Where the label file of this name is looked for."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "~/.cache/robuststream").expanduser() / f"{noise}.npz"


def in_place(labels: Tensor, train: Split, given: Tensor) -> Tensor:
    """(N,) what a table by the data set's own rows says of the pool; an image that is none of the data set's keeps its label."""
    rows = train.rows.cpu()
    return torch.where(rows >= 0, given[rows.clamp(min=0)], labels)


def _checked(given: np.ndarray[Any, Any], train: Split, path: Path) -> Tensor:
    """As a tensor, once there is one known class for every row. Raises UserError."""
    if len(given) != train.total:
        raise UserError(
            f"LabelNoise: {path} holds {len(given)} labels, but {train.dataset} has {train.total} training examples: "
            "one label per row of the data set's own order is needed"
        )
    foreign = np.flatnonzero((given < 0) | (given >= train.num_classes))
    if len(foreign):
        row = int(foreign[0])
        raise UserError(
            f"LabelNoise: {path} has class {given[row]} in row {row}, but {train.dataset} has 0 to {train.num_classes - 1}"
        )
    return torch.from_numpy(given.astype(np.int64))


def read_labels(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    """(M,) whole numbers from a file. Raises UserError where it is missing, does not parse or holds something else."""
    labels = read_array(path, key, (".npy", ".npz", ".txt"))
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"LabelNoise: {path} holds {labels.dtype} of shape {labels.shape}, not one row of whole numbers")
    return labels


def read_array(path: Path, key: str | None, suffixes: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """One plain array from a file of one of these kinds. Raises UserError where it is missing or does not parse."""
    if not path.is_file():
        raise UserError(f"LabelNoise: there is no file {path}")
    if path.suffix not in suffixes:
        raise UserError(f"LabelNoise: {path} is neither {', '.join(suffixes[:-1])} nor {suffixes[-1]}")
    if key is not None and path.suffix != ".npz":
        raise UserError(f"LabelNoise: key='{key}' is for .npz files, and {path} is none; leave 'key' out")
    try:
        return _array(path, key)
    except UserError:
        raise
    except Exception as error:  # whatever a torn or foreign file makes of the reader: NumPy's knows a dozen ways, TokenError too
        reason = " ".join(str(error).split())
        what = "plain whole numbers" if ".txt" in suffixes else "a plain array"
        raise UserError(f"LabelNoise: {path} does not parse as {what}: {reason}") from None


def _array(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    if path.suffix == ".txt":
        return np.array([int(line) for line in path.read_text().split()], dtype=np.int64)
    # Pickles run code when they are read, and labels need none.
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if key not in loaded.files:
            complaint = "needs 'key', the array's name" if key is None else f"has no array '{key}'"
            raise UserError(f"LabelNoise: {path} {complaint}; {meant(key or '', loaded.files)}")
        return loaded[key]
