"""The guard of rule 1: nobody touches a global generator or a global flag while a run trains."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


class RulesBroken(RuntimeError):
    """A plug-in changed what every arm shares: nothing of its run can be used."""


@contextmanager
def untouched_globals(who: str) -> Iterator[None]:
    """Raise RulesBroken with the names of what changed, also where the run ended early; `who` names the plug-ins."""
    before = _globals()
    try:
        yield
    finally:
        after = _globals()
        changed = [name for name in before if before[name] != after[name]]
        if changed:
            what = ", ".join(changed)
            raise RulesBroken(f"{who} changed {what}: plug-ins draw from their own generator and set no global flag")


def in_train_mode(network: nn.Module, who: str) -> None:
    """Raise RulesBroken where `who` left a part of the network in eval mode: the step after it would train another network."""
    for name, module in network.named_modules():
        if not module.training:
            raise RulesBroken(f"{who} left {name or 'the network'} in eval mode: plug-ins put a module's mode back as it was")


def _globals() -> dict[str, Any]:
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 -- only read, to see that nobody drew from it
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "CUDA's global generators": [s.numpy().tobytes() for s in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_initialized()
        else [],
        "numpy's global generator": (numpy_state["key"].tobytes(), numpy_state["pos"]),
        "Python's global generator": random.getstate(),
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch.backends.cudnn.enabled": torch.backends.cudnn.enabled,
        "torch.backends.cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "the matmul precision": torch.get_float32_matmul_precision(),
        "torch.use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
    }
