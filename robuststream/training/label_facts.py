"""What a scenario did to the labels, as realised (rule 8)."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor


def label_facts(observed: Tensor, clean: Tensor, num_classes: int) -> dict[str, Any]:
    """Count and rate of wrong labels, transition matrix (clean by observed, counts), rate per clean class, and a hash."""
    observed, clean = observed.cpu(), clean.cpu()
    matrix = torch.bincount(clean * num_classes + observed, minlength=num_classes**2).reshape(num_classes, num_classes)
    per_class = 1.0 - matrix.diagonal() / matrix.sum(1).clamp(min=1)
    wrong = int((observed != clean).sum())
    return {
        "wrong": wrong,
        "rate": wrong / len(observed),
        "hash": hashlib.sha256(observed.numpy().tobytes()).hexdigest()[:16],
        "matrix": matrix.tolist(),
        "per_class": [round(rate, 6) for rate in per_class.tolist()],
    }
