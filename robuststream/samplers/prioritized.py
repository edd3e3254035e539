"""Prioritized: base values with a temperature, and the bias of drawing by them corrected by weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Batch, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._streaming import Streaming


@dataclass
class Prioritized(Streaming):
    """Draw in proportion to (loss when last seen)^alpha, and weigh each loss by (N p)^-beta: PLB with its bias corrected.

    Paper: Schaul et al., ICLR 2016, arXiv 1511.05952, proportional form; defaults of openai/baselines ea25b9e.
    Cost: a uniform step; N forwards once; with refresh=post n forwards more a step.
    Deviations: the loss stands for the TD error. The pool is valued by a probe after the warm-up (there: a new one gets the
        largest priority so far). Weights are divided by the largest of the mini-batch (baselines: of the whole pool, where one
        loss near zero would shrink every step). alpha=1 beta=0 epsilon=0 stratified=false scale=none is plb, draw by draw; with
        beta 1 and scale=none the gradient is unbiased.
    """

    warmup_epochs: float = hyper(1.0, low=0.0, help="uniform epochs before the values are first computed", search=(0.0, 5.0))
    alpha: float = hyper(0.6, low=0.0, help="0 draws uniformly, 1 in proportion to the loss", search=(0.2, 1.0))
    beta_from: float = hyper(0.4, low=0.0, high=1.0, help="exponent of the correction at the start", search=(0.0, 1.0))
    beta_to: float = hyper(1.0, low=0.0, high=1.0, help="exponent of the correction at the end; between, linear in the budget")
    epsilon: float = hyper(1e-6, low=0.0, help="nats added to each loss, so that nothing is never drawn")
    stratified: bool = hyper(True, help="one draw from each of n equal parts of the running sum, as in the paper")
    scale: str = hyper("max", choices=("max", "none"), help="divide the weights by the largest of the mini-batch, or do not")

    def draw(self, probe: Probe, progress: float) -> Batch:
        batch = super().draw(probe, progress)
        if not self.valued_:
            return batch
        beta = self.beta_from + (self.beta_to - self.beta_from) * min(progress, 1.0)
        weight = (self.pool.size * self._mixed(self.tree_.probability(batch.index))) ** -beta
        return Batch(batch.index, (weight / weight.amax() if self.scale == "max" else weight).float())

    def pick(self) -> Tensor:
        return self.tree_.draw(self.pool.batch_size, self.generator_, stratified=self.stratified)

    def fresh_values(self, signals: Signals) -> Tensor:
        return (signals.loss + self.epsilon) ** self.alpha
