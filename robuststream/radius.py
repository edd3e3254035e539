"""How far an attack may move a pixel: the radius eps of its ball in the maximum norm, inputs in [0, 1]. No torch here."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from robuststream.errors import UserError

USUAL = {
    "digits": "0.1",  # ours: 8 x 8 pixels of 17 grey levels, so an image can move by less than two of them
    "mnist": "0.3",  # Madry et al., ICLR 2018
    "kmnist": "0.3",
    "emnist-letters": "0.3",
    "emnist-balanced": "0.3",
    "fashion-mnist": "0.1",
    "svhn": "8/255",
    "cifar10": "8/255",  # Madry et al., ICLR 2018
    "cifar100": "8/255",
}
"""The eps that papers use, by data set; as text, since 8/255 is what people write and recognise."""


def number(eps: Any) -> Any:
    """'8/255' as a number, and a number as it is. Text that is none is left for the caller to refuse."""
    try:
        return float(Fraction(eps)) if isinstance(eps, str) else eps
    except (ValueError, ZeroDivisionError, OverflowError):
        return eps


def radius(eps: str | float | None, dataset: str, who: str) -> float:
    """A number in [0, 1], from '8/255' or a number, or for null from the data set. Raises UserError, begun with `who`."""
    if eps is None:
        if dataset not in USUAL:
            raise UserError(f"{who}: no usual eps is known for data set '{dataset}'; say it, as in eps=8/255")
        eps = USUAL[dataset]
    value = number(eps)
    if isinstance(value, str) or not 0 <= value <= 1:
        raise UserError(f"{who}: eps={eps!r} is not possible (allowed: 0 to 1, as a number or a fraction like 8/255)")
    return float(value)
