"""Find, on the CPU, the calls that would make a program wait for an accelerator: those that read values back to the host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from robuststream.dispatch import Watching

READING_METHODS = {
    name: f"Tensor.{name}" for name in ("tolist", "numpy", "cpu", "__array__", "__repr__", "__format__", "__dlpack__")
}
"""Methods that read values and never reach an operator, where the tensor is on the host already."""

READING_OPERATORS = {
    "_local_scalar_dense": "a value is read, as by item(), int(), float(), bool(), `if tensor`, or a tensor as a size or bound",
    "nonzero": "nonzero, or torch.where with one argument (the size depends on the data)",
    "masked_select": "masked_select (the size depends on the data)",
    "_unique2": "unique (the size depends on the data)",
    "unique_dim": "unique (the size depends on the data)",
    "unique_consecutive": "unique_consecutive (the size depends on the data)",
    "bincount": "bincount (the size depends on the data; scatter_add_ into zeros does not)",
    "equal": "torch.equal (the answer is read)",
    "allclose": "torch.allclose (the answer is read)",
}
"""Operators whose answer, or its size, comes back to the host."""

CHECKED_ON_CPU_ONLY = ("one_hot", "quantile", "nanquantile")
"""Functions that validate values on the CPU, and expressly skip it on an accelerator so as not to wait."""


class Waits:
    """Records every wait inside `with waits.watching():`, as 'what happened, at file.py:line'."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._paused = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        with _Operators(self), _Methods(self):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def record(self, what: str) -> None:
        if not self._paused:
            self.found.append(f"{what}, at {_line_of_the_plugin()}")

    def take(self) -> list[str]:
        """What was found since the last call."""
        found, self.found = self.found, []
        return found


class _Methods(TorchFunctionMode):
    """Sees Python calls, with the arguments as the plug-in wrote them."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in READING_METHODS:
            self.waits.record(READING_METHODS[name])
        elif name == "to" and "cpu" in (*args[1:2], kwargs.get("device")):
            self.waits.record('Tensor.to("cpu")')
        elif name == "__setitem__" and isinstance(args[2], (int, float)) and _by_tensor(args[1]):
            self.waits.record("a number is assigned to places that a tensor names, and copied there (index_fill_ does not wait)")
        elif name == "tensor" and isinstance(args[0], (list, tuple)) and any(isinstance(part, Tensor) for part in args[0]):
            self.waits.record("torch.tensor of tensors (torch.stack does not wait)")
        elif name in CHECKED_ON_CPU_ONLY and not (name == "one_hot" and len(args) + len(kwargs) < 2):
            with self.waits.paused():
                return func(*args, **kwargs)
        return func(*args, **kwargs)


class _Operators(Watching):
    """Sees the operators underneath, however they were reached."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        what = _reading(func.overloadpacket.__name__, args, kwargs)
        if what:
            self.waits.record(what)
        return func(*args, **kwargs)


def _reading(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Why this operator waits; '' where it does not."""
    if name in ("index", "index_put", "index_put_") and any(_is_mask(part) for part in args[1]):
        return "a boolean mask as index (the size depends on the data; torch.where and masked_fill do not wait)"
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        return "repeat_interleave with a tensor of repeats (output_size=... tells the size)"
    if name == "multinomial":
        count, replacement = (*args[1:3], kwargs.get("replacement", False))[:2]
        free = replacement and count != 1
        return "" if free else "multinomial without replacement or of one (it checks its input on the host)"
    return READING_OPERATORS.get(name, "")


def _by_tensor(index: Any) -> bool:
    return any(isinstance(part, Tensor) for part in (index if isinstance(index, tuple) else (index,)))


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)


def is_of_torch(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(torch.__file__).parent)


def _line_of_the_plugin() -> str:
    """The innermost line that is neither torch's nor of this file."""
    frame = sys._getframe(1)
    while frame.f_back and (frame.f_code.co_filename == __file__ or is_of_torch(frame.f_code.co_filename)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
