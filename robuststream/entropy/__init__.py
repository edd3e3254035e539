"""The entropy of predictions, which a sampler may want of every mini-batch: in C where a compiler was, else in torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

VERSION = 1


def entropy(logits: Tensor) -> Tensor:
    """(m, K) finite float32 logits -> (m,) float32, nats: Shannon entropy of the softmax, without gradient.

    In C right to the last digit, from 1 to 1e-30. In torch, which takes six operations and rounds the logarithm of a softmax to
    float32, to 4e-7 of itself and 2e-7: one below 1e-5 may be some per cent off.
    """
    call = _library() if logits.is_cpu and type(logits) is Tensor and logits.dtype is torch.float32 else None  # not a fake one
    if call is None:
        log_p = logits.log_softmax(1)
        return (log_p.exp() * log_p).sum(1).neg().clamp(min=0.0)
    logits = logits.detach().contiguous()
    out = torch.empty(len(logits))
    call(*logits.shape, logits.data_ptr(), out.data_ptr())
    return out


def backend() -> str:
    """Which of the two answers on a CPU. Their last digits differ, so a result records it."""
    return "torch" if _library() is None else "native"


@cache
def _library(folder: Path = Path(__file__).parent) -> Callable[..., None] | None:
    """The compiled function; None where it was not built, does not load here or is of another version."""
    try:
        library = ctypes.CDLL(str(next(folder.glob("_entropy*.so"))))
        call, version = library.entropies, library.entropies_version()
    except (StopIteration, OSError, AttributeError):
        return None
    call.argtypes, call.restype = (ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p), None
    return call if version == VERSION else None
