"""The device of a run: what is said of no GPU in particular means one of them, for as long as the run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """`cpu`, `cuda` (this process's current GPU) or `cuda:2`."""
    if name == "cpu":
        yield
        return
    torch.cuda.init()  # the generators that the guard looks at begin to exist here
    with torch.cuda.device(torch.device(name)):
        yield


def placed(storage: Any, where: str) -> Any:
    """Of a checkpoint: what lay on a GPU comes to the current one, whoever wrote it; all else stays on the CPU."""
    return storage.cuda() if where.startswith("cuda") else storage
