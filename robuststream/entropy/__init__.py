"""The entropy of predictions, which a sampler may want of every mini-batch: in C where a compiler was, else in torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from robuststream import compiled
from robuststream.errors import UserError

VERSION = 2


def entropy(outputs: Tensor, ceiling: float) -> Tensor:
    """(m, K) float32 outputs of a network -> (m,) float32, nats: Shannon entropy of the softmax, without gradient.

    An output that is not a number counts as zero, an infinite one as `ceiling` or its negative.
    In C right to the last digit, from 1 to 1e-30. In torch, which takes seven operations and rounds the logarithm of a softmax to
    float32, to 4e-7 of itself and 2e-7: one below 1e-5 may be some per cent off.
    """
    outputs = outputs.detach()
    call = _library() if outputs.is_cpu and type(outputs) is Tensor and outputs.dtype is torch.float32 else None  # no fake one
    if call is None:
        log_p = finite(outputs, ceiling).log_softmax(1)
        return (log_p.exp() * log_p).sum(1).neg().clamp(min=0.0)
    out = torch.empty(len(outputs))
    if _fill(call, outputs, out):
        _fill(call, finite(outputs, ceiling), out)  # to look beforehand would cost every step a pass
    return out


def finite(outputs: Tensor, ceiling: float) -> Tensor:
    """(m, K) outputs with 0 where one is not a number, and `ceiling` or its negative where one is infinite."""
    return outputs.nan_to_num(nan=0.0, posinf=ceiling, neginf=-ceiling)


def _fill(call: Callable[..., int], logits: Tensor, out: Tensor) -> bool:
    """Entropies of `logits` (m, K) into `out` (m,); whether some are spoilt, for a logit is not finite."""
    logits = logits.contiguous()
    return call(*logits.shape, logits.data_ptr(), out.data_ptr()) > 0


def backend() -> str:
    """Which of the two answers on a CPU. Their last digits differ, so a result records it."""
    return "torch" if _library() is None else "native"


@cache
def _library(folder: Path = Path(__file__).parent) -> Callable[..., int] | None:
    """The compiled function; None where it was not built, does not load here or is of another version."""
    try:
        call = compiled.load(folder, "_entropy", "entropy", "entropies_version", VERSION).entropies
    except UserError:
        return None
    call.argtypes, call.restype = (ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int64
    return call
