"""Errors for people: one line that says what was wrong, what is allowed and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's, told in one line; the command line answers it with exit code 2 and no traceback."""


def printable(value: object) -> str:
    """One line that a terminal shows and does not obey, whatever a file, an argument or a plug-in has brought into it."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in " ".join(str(value).split()))


def meant(given: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the nearest right spelling, then everything that exists."""
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}known: {', '.join(names) if names else 'none'}"
