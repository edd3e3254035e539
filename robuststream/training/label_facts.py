"""What a scenario did to the labels, as realised (rule 8)."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from robuststream.contracts import Split


def clean_labels(pool: Split, given: Split) -> Tensor:
    """(N,) what is true of every example of a pool that a scenario made of the given split; -1 where no class is.

    A pool may have lost or repeated examples: its rows say which they are. Those of foreign images are -1, the last place.
    """
    by_row = given.labels.new_full((given.total + 1,), -1)
    by_row[given.rows] = given.labels
    return by_row[pool.rows]


def label_facts(pool: Split, clean: Tensor) -> dict[str, Any]:
    """Count and rate of wrong labels, transition matrix (clean by observed, counts), rate per clean class, and a hash.

    Where there are any, also how many images are foreign (no label of theirs is right, and the matrix leaves them out), and how
    many distinct examples the pool has where some repeat.
    """
    rows, num_classes = pool.rows.cpu(), pool.num_classes
    observed, clean = pool.labels.cpu(), clean.cpu()
    known = clean >= 0
    matrix = torch.bincount(clean[known] * num_classes + observed[known], minlength=num_classes**2)
    matrix = matrix.reshape(num_classes, num_classes)
    foreign = int((~known).sum())
    distinct = len(rows[known].unique()) + foreign
    per_class = 1.0 - matrix.diagonal() / matrix.sum(1).clamp(min=1)
    wrong = int((observed != clean).sum())
    return {
        "wrong": wrong,
        "rate": wrong / len(observed),
        "hash": hashlib.sha256(observed.numpy().tobytes()).hexdigest()[:16],
        "matrix": matrix.tolist(),
        "per_class": [round(rate, 6) for rate in per_class.tolist()],
        **({"foreign": foreign} if foreign else {}),
        **({"distinct": distinct} if distinct < len(observed) else {}),
    }
