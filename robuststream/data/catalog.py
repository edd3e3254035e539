"""The data sets that robuststream knows by name. Everything else is a file or a folder of the user's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from robuststream.errors import UserError, meant


@dataclass(frozen=True, slots=True)
class DataSet:
    """One row of the catalogue, and where torchvision keeps it."""

    name: str
    meaning: str  # one line
    source: str
    num_classes: int  # K
    shape: tuple[int, int, int]  # (C, H, W)
    torchvision: str = ""  # the class in torchvision.datasets; '' where the data are embedded
    split: str = ""  # EMNIST's division of the classes


DIGITS = "digits"
"""The default: needs neither a file nor a network."""

_GREY, _COLOUR = (1, 28, 28), (3, 32, 32)
_EMNIST = "Cohen et al., EMNIST: extending MNIST to handwritten letters, 2017"
_CIFAR = "Krizhevsky, Learning multiple layers of features from tiny images, 2009"

CATALOG = {
    entry.name: entry
    for entry in (
        DataSet(DIGITS, "handwritten digits, 1797 in all; embedded, no download", "UCI optdigits, scikit-learn", 10, (1, 8, 8)),
        DataSet("mnist", "handwritten digits", "LeCun et al., 1998", 10, _GREY, "MNIST"),
        DataSet("fashion-mnist", "articles of clothing", "Xiao et al., 2017", 10, _GREY, "FashionMNIST"),
        DataSet("emnist-letters", "handwritten letters, both cases merged", _EMNIST, 26, _GREY, "EMNIST", "letters"),
        DataSet("emnist-balanced", "handwritten digits and letters, equal classes", _EMNIST, 47, _GREY, "EMNIST", "balanced"),
        DataSet("kmnist", "cursive Japanese characters", "Clanuwat et al., 2018", 10, _GREY, "KMNIST"),
        DataSet("svhn", "house numbers from street photographs", "Netzer et al., 2011", 10, _COLOUR, "SVHN"),
        DataSet("cifar10", "tiny photographs of objects and animals", _CIFAR, 10, _COLOUR, "CIFAR10"),
        DataSet("cifar100", "tiny photographs, fine classes", _CIFAR, 100, _COLOUR, "CIFAR100"),
    )
}


def names() -> list[str]:
    """Every data set of the catalogue, the default first."""
    return list(CATALOG)


def is_path(name: str) -> bool:
    """Whether a data set is named by the place of the user's own file or folder."""
    return name not in CATALOG and (name.endswith(".npz") or "/" in name or Path(name).is_dir())


def require(name: str) -> None:
    """Refuse a data set that is neither in the catalogue nor a file or folder that exists. Reads no data."""
    if is_path(name):
        if not Path(name).expanduser().exists():
            raise UserError(f"data set '{name}': there is no such {'file' if name.endswith('.npz') else 'folder'}")
    elif name not in CATALOG:
        raise UserError(f"unknown data set '{name}'; {meant(name, names())}, path/to/file.npz, path/to/folder")


def fingerprint(name: str) -> str:
    """Of the user's own data: hash of the file, or of the names, sizes and times of a folder's files; '' for the catalogue."""
    path = Path(name).expanduser()
    if not is_path(name):
        return ""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    listing = [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:10]
