"""Evaluation, off the clock and off the ledger: accuracy and loss of the bare network in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Scenario, Split
from robuststream.data.batches import Batches
from robuststream.data.stored import AnyBatches
from robuststream.training.precision import Precise


def chunks(index: Tensor, batches: AnyBatches) -> tuple[Tensor, ...]:
    """The (m,) indices in parts for passes without gradient: on a CPU of 128, more where examples are so small that a pass would
    be over before Python is ready for the next, on a GPU as many as keep it busy."""
    if index.device.type != "cpu":
        return index.split(4096)
    return index.split(min(512, max(128, 100_000 // batches.example_size)))


def logits_of(network: Precise, batches: AnyBatches, index: Tensor) -> Tensor:
    """(m, K) float32 logits of plain images; the network is in train mode again afterwards."""
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(batches.plain(part, network.scale)[0], ready=True) for part in chunks(index, batches)])
    network.train()
    return logits


def score(network: Precise, batches: AnyBatches) -> tuple[float, float]:
    """(accuracy in [0, 1], mean cross-entropy in nats) over a whole split."""
    everyone = torch.arange(len(batches.labels), device=batches.labels.device)
    logits = logits_of(network, batches, everyone)
    accuracy = (logits.argmax(1) == batches.labels).double().mean()
    return float(accuracy), float(F.cross_entropy(logits, batches.labels))


def is_correct(network: Precise, batches: Batches) -> Tensor:
    """(N,) bool: the network's most probable class is the label, over a whole split."""
    everyone = torch.arange(len(batches.labels), device=batches.labels.device)
    return logits_of(network, batches, everyone).argmax(1) == batches.labels


def class_accuracies(correct: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Share of correct answers by class; None for a class without examples."""
    sizes, right = torch.bincount(labels, minlength=num_classes), torch.bincount(labels[correct], minlength=num_classes)
    return [hits / size if size else None for hits, size in zip(right.tolist(), sizes.tolist(), strict=True)]


class TestScore(NamedTuple):
    """What one reading of the test set says of one network."""

    accuracy: float
    per_class: list[float | None]
    figures: dict[str, float]  # the scenario's own


class TestSet:
    """The test split, which is read once, at the end (rule 4): a second reading is an error in the harness."""

    def __init__(self, split: Split) -> None:
        self._split: Split | None = split

    def read(
        self,
        network: Precise,
        weights: list[dict[str, Tensor]],
        scenario: Scenario,
        once: Callable[[Split], None] = lambda split: None,
    ) -> list[TestScore]:
        """Test accuracy, beside the scenario's own figures, under each of several weights (the last step's, the best's).

        `once` is shown the split while the network bears the first of them.
        """
        if self._split is None:
            raise RuntimeError("the test set was read already; it is read once, at the end of a run (rule 4)")
        split, self._split = self._split, None
        batches, figures = Batches(split), []
        for place, state in enumerate(weights):
            network.load_state_dict(state)
            correct = is_correct(network, batches)
            per_class = class_accuracies(correct, split.labels, split.num_classes)
            figures.append(TestScore(float(correct.double().mean()), per_class, scenario.evaluate(network, split)))
            if place == 0:
                once(split)
        return figures
