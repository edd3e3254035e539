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
    be over before Python is ready for the next, on a GPU as many as keep it busy and leave memory to runs beside this one."""
    if index.device.type != "cpu":
        return index.split(max(512, min(4096, 3_000_000 // batches.example_size)))
    return index.split(min(512, max(128, 100_000 // batches.example_size)))


def logits_of(network: Precise, batches: AnyBatches, index: Tensor, views: str = "plain") -> Tensor:
    """(m, K) float32 logits of plain images, or means over several `views`; the network is in train mode again afterwards."""
    network.eval()
    with torch.no_grad():
        parts = [_seen(network, batches.plain(part, network.scale)[0], views) for part in chunks(index, batches)]
    network.train()
    return torch.cat(parts)


def _seen(network: Precise, images: Tensor, views: str) -> Tensor:
    """(n, K): the image's own logits; or half of them its mirror's; or then half of all those of it shifted by a pixel down and
    right, and up and left, its border mirrored. As airbench94 (Jordan, arXiv 2404.00498) reads its accuracy."""
    logits = network(images, ready=True)
    if views == "plain":
        return logits
    logits = 0.5 * logits + 0.5 * network(images.flip(3), ready=True)
    if views == "mirrored":
        return logits
    around = F.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = [_seen(network, around[:, :, at:, at:][:, :, : images.shape[2], : images.shape[3]], "mirrored") for at in (0, 2)]
    return 0.5 * logits + 0.25 * (shifted[0] + shifted[1])


def score(network: Precise, batches: AnyBatches, views: str = "plain") -> tuple[float, float]:
    """(accuracy in [0, 1], mean cross-entropy in nats) over a whole split."""
    logits = logits_of(network, batches, _everyone(batches), views)
    accuracy = (logits.argmax(1) == batches.labels).double().mean()
    return float(accuracy), float(F.cross_entropy(logits, batches.labels))


def is_correct(network: Precise, batches: Batches, views: str = "plain") -> Tensor:
    """(N,) bool: the network's most probable class is the label, over a whole split."""
    return logits_of(network, batches, _everyone(batches), views).argmax(1) == batches.labels


def _everyone(batches: AnyBatches) -> Tensor:
    return torch.arange(len(batches.labels), device=batches.labels.device)


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

    def __init__(self, split: Split, views: str = "plain") -> None:
        self._split: Split | None = split
        self.views = views

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
            correct = is_correct(network, batches, self.views)
            per_class = class_accuracies(correct, split.labels, split.num_classes)
            figures.append(TestScore(float(correct.double().mean()), per_class, scenario.evaluate(network, split)))
            if place == 0:
                once(split)
        return figures
