"""OWC: only wrongly classified."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._pod import PoD


@dataclass
class OWC(PoD):
    """Draw by probabilities that grow by alpha whenever an example is misclassified, normalised over the pool.

    Paper: Duda, Jaworski, Cader, Wang, JAISCR 10(1):15-26, 2020, as restated in the project's slides (20.11.2024).
    Cost: a uniform step.
    Deviations: alpha was not found in any source; 1/N is ours. An example drawn twice in a mini-batch grows once.
    """

    refresh: str = hyper(
        "pre", choices=("pre", "post"), help="misclassified in the training forward, or in a second one after it"
    )
    alpha: float | None = hyper(None, above=0.0, help="added to a misclassified example; null is 1/N", search=(1e-5, 1e-2))

    def fresh_values(self, signals: Signals) -> Tensor:
        """(m,) 1 where misclassified: what the stored probabilities are meant to follow."""
        return (~signals.correct).double()

    def largest_sum(self) -> float:
        return 1.0 + self.added * max(self.pool.batch_size, self.looked_at_again)

    @property
    def added(self) -> float:
        return 1.0 / self.pool.size if self.alpha is None else self.alpha

    def first_values(self, probe: Probe) -> None:
        """All are 1/N, as the tree begins."""

    def store(self, signals: Signals) -> None:
        self.write(signals.index, self.tree_.probability(signals.index) + self.added * self.fresh_values(signals))
