"""The machine and the software that gave the numbers."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from contenders import Contender

from robuststream.training.provenance import provenance

PAGE = os.sysconf("SC_PAGE_SIZE")


def one_thread() -> None:
    """Every timing is of one thread; no OpenMP team is ever started."""
    torch.set_num_threads(1)


def machine(contenders: Iterable[type[Contender]], device: str = "cpu") -> dict[str, Any]:
    """What a reader needs to know to judge or repeat the numbers."""
    return {
        **provenance(torch.device(device)),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * PAGE / 1e9, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "peers": {contender.package: contender.version() for contender in contenders},
    }


def resident() -> int | None:
    """Bytes of memory that this process uses; None where the system does not say.

    What was freed and kept for later goes back to the system first: whoever takes it again must be seen to.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    statm = Path("/proc/self/statm")
    if trim is None or not statm.exists():
        return None
    trim(0)
    return int(statm.read_text().split()[1]) * PAGE


def available() -> int:
    """Bytes of memory that could still be taken."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_AVPHYS_PAGES") * PAGE
    return next(int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
