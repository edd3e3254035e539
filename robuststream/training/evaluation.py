"""Evaluation, off the clock and off the ledger: accuracy and loss of the bare network in eval mode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Scenario, Split
from robuststream.data.batches import Batches
from robuststream.data.stored import AnyBatches
from robuststream.training.precision import Precise


def chunk_size(device: torch.device) -> int:
    """Examples per pass without gradient: on a CPU as many as its caches hold, on a GPU as many as keep it busy."""
    return 128 if device.type == "cpu" else 4096


def logits_of(network: Precise, batches: AnyBatches, index: Tensor) -> Tensor:
    """(m, K) float32 logits of plain images; the network is in train mode again afterwards."""
    network.eval()
    with torch.no_grad():
        parts = index.split(chunk_size(index.device))
        logits = torch.cat([network(batches.plain(part, network.scale)[0], ready=True) for part in parts])
    network.train()
    return logits


def score(network: Precise, batches: AnyBatches) -> tuple[float, float]:
    """(accuracy in [0, 1], mean cross-entropy in nats) over a whole split."""
    everyone = torch.arange(len(batches.labels), device=batches.labels.device)
    logits = logits_of(network, batches, everyone)
    accuracy = (logits.argmax(1) == batches.labels).double().mean()
    return float(accuracy), float(F.cross_entropy(logits, batches.labels))


class TestSet:
    """The test split, which is read once, at the end (rule 4): a second reading is an error in the harness."""

    def __init__(self, split: Split) -> None:
        self._split: Split | None = split

    def read(self, network: Precise, weights: list[dict[str, Tensor]], scenario: Scenario) -> list[dict[str, float]]:
        """Test accuracy, beside the scenario's own figures, under each of several weights (the last step's, the best's)."""
        if self._split is None:
            raise RuntimeError("the test set was read already; it is read once, at the end of a run (rule 4)")
        split, self._split = self._split, None
        batches, figures = Batches(split), []
        for state in weights:
            network.load_state_dict(state)
            figures.append({"test_accuracy": score(network, batches)[0], **scenario.evaluate(network, split)})
        return figures
