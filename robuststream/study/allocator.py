"""The C library's memory, kept instead of given back: activations of every step reuse pages that are there already."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_memory() -> bool:
    """Tell glibc never to map or return large blocks; True where it obeyed. For a process that trains and then ends.

    By default every activation above a threshold is mapped, page-faulted and unmapped in every step: on a CPU that is more
    than half of a convolutional network's step.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20))
    return all(mallopt(option, value) == 1 for option, value in settings)
