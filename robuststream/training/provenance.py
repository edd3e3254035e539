"""Where a result comes from (rule 13): versions, device, threads, and the state of our own source."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

from robuststream import __version__
from robuststream.entropy import backend

PACKAGE = Path(__file__).parent.parent


def provenance(device: torch.device) -> dict[str, Any]:
    """Everything that another person needs to know to run the same again."""
    return {
        **_installation(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        **({"cuda": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"} if device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


@functools.cache
def _installation() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD") if _git("ls-files", "__init__.py") else None
    return {
        "robuststream": __version__,
        "source": source_hash(),
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", ".")) if commit else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # plain: whoever reads a result needs no torch for it
        "numpy": numpy.__version__,
        "entropy": backend(),
        "platform": platform.platform(),
    }


def _git(*arguments: str) -> str | None:
    """Answer of git in the package's folder; None where there is no git or no checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def source_hash() -> str:
    """Hash over our Python and C files: says which code ran also where it was installed from a wheel."""
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.c")]):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
