"""A folder of images (train/CLASS/*.png and test/CLASS/*.png, all of one size, grey or RGB), or of the four arrays as .npy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from robuststream.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def read(root: Path) -> dict[str, np.ndarray]:
    """The four arrays; labels number the folders of train/ in the order of their names, images lie in that of theirs."""
    if (root / "train_images.npy").is_file():
        return read_arrays(root, mapped=False)
    names, found = classes(root), {}
    for part in ("train", "test"):
        found[f"{part}_images"], found[f"{part}_labels"] = read_part(root / part, names)
    return found


def read_arrays(root: Path, mapped: bool) -> dict[str, np.ndarray]:
    """train_images.npy, train_labels.npy and the same of test; the training images mapped into memory where that is asked."""
    found = {}
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        mode = "c" if mapped and name == "train_images" else None  # as "r", for nobody writes: torch warns of what it may not
        try:
            found[name] = np.load(root / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
        except Exception as error:  # whatever a torn or foreign file makes of the reader
            raise UserError(f"{root / name}.npy cannot be read: {' '.join(str(error).split())}") from None
    return found


def classes(root: Path) -> list[str]:
    """Names of the classes, which are the folders of train/; test/ has no others."""
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UserError(f"data set '{root}' has no folder {part}/ (images are read from train/CLASS/ and test/CLASS/)")
    names = _folders(root / "train")
    strange = set(_folders(root / "test")) - set(names)
    if strange:
        raise UserError(f"{root}: test/{min(strange)} is a class without a folder in train/")
    return names


def _folders(part: Path) -> list[str]:
    return sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))


def list_part(part: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Every image's file, and their labels."""
    paths = [(path, label) for label, name in enumerate(classes) for path in _images_in(part / name)]
    if not paths:
        raise UserError(f"{part} holds no images ({', '.join(SUFFIXES)}) in folders of classes")
    return [path for path, _ in paths], np.array([label for _, label in paths], dtype=np.int64)


def read_part(part: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every image, and their labels."""
    paths, labels = list_part(part, classes)
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(f"{path} is {_size(image)}, {paths[0].name} is {_size(images[0])}; all must be of one size")
    return np.stack(images), labels


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def read_image(path: Path) -> np.ndarray:
    """(H, W, C) uint8. A mode that would have to be converted with loss (transparency, 16 bit) is refused."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB"):
                raise UserError(f"{path} is of mode {image.mode}; save it as 8-bit grey or RGB")
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError on a broken PNG
        raise UserError(f"{path} cannot be read as an image: {' '.join(str(error).split())}") from None
    return pixels.reshape(*pixels.shape[:2], -1)


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape))
