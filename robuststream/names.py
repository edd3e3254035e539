"""What a run is called: after its settings, all of them. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

_DIGITS = 10


def identity(settings: dict[str, Any]) -> str:
    """Hash of the full settings: the same settings are the same run, any change makes another."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def run_name(settings: dict[str, Any]) -> str:
    """The folder of a run: readable, and distinct for distinct settings."""
    return _name(settings, settings["seed"], identity(settings))


def _name(settings: dict[str, Any], seed: int, digest: str) -> str:
    label = f"{settings['sampler']['label']}--{settings['scenario']['label']}--seed{seed}"
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in label)
    return plain.encode()[:150].decode(errors="ignore") + f"--{digest}"  # a file's name has 255 bytes


def run_names(settings: dict[str, Any], seeds: Iterable[int]) -> list[str]:
    """`run_name` of these settings at each of the seeds; what is common to all is spelled out and hashed once."""
    spelled = [f"{json.dumps(key)}: {json.dumps(settings[key], sort_keys=True)}" for key in sorted(settings)]
    place = sorted(settings).index("seed")
    start = hashlib.sha256(("{" + ", ".join([*spelled[:place], '"seed": '])).encode())
    end = "".join(f", {one}" for one in spelled[place + 1 :]) + "}"
    names = []
    for seed in seeds:
        digest = start.copy()
        digest.update(f"{json.dumps(seed)}{end}".encode())  # of the same text as `identity`
        names.append(_name(settings, seed, digest.hexdigest()[:_DIGITS]))
    return names
