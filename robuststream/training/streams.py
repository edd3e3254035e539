"""Random streams, separate by purpose and derived from the seed (rule 1). Nothing here touches a global generator."""

from __future__ import annotations

import hashlib

import torch

COMPANIONS = ("companion-1", "companion-2", "companion-3")
"""Two of a sampler's and one of a learner's: the most that anything here asks for."""

PURPOSES = ("split", "init", "noise", "sampler", "augmentation", "dropout", "diagnostics", "placebo", "attack", *COMPANIONS)
"""Arms of one seed share split, init and noise; every other stream belongs to the run."""


def stream_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose: changing how one stream is used never shifts another."""
    assert purpose in PURPOSES, purpose
    digest = hashlib.sha256(f"robuststream/{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
    """A new generator for one purpose, on a device."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose))
