"""Our C libraries. They are optional: each lies beside the module that calls it, where a compiler was at hand at installation."""

from __future__ import annotations

import ctypes
from pathlib import Path

from robuststream.errors import UserError


def load(folder: Path, name: str, what: str, ask: str, version: int) -> ctypes.CDLL:
    """The library `name`*.so in this folder, whose function `ask` answers with its version.

    UserError says why there is none: not built, not loadable here, or of another version. `what` is what to call it.
    """
    found = sorted(folder.glob(f"{name}*.so"))
    if not found:
        raise UserError(f"the native {what} is not built (its C extension needs a compiler when robuststream is installed)")
    try:
        library = ctypes.CDLL(str(found[0]))
        if getattr(library, ask)() != version:
            raise UserError(f"the native {what} {found[0].name} is of another version; install robuststream anew")
    except (OSError, AttributeError) as error:
        raise UserError(f"the native {what} {found[0].name} does not load: {error}") from None
    return library
