"""Active Bias: emphasise what the network has not made up its mind about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck
from robuststream.sumtree import SumTree


@dataclass
class ActiveBias(Sampler):
    """Draw, or weigh, by how uncertain the observed label's probability has been: its variance, or its closeness to 1/2.

    Paper: Chang, Learned-Miller, McCallum, NeurIPS 2017, arXiv 1704.07433: SGD-SPV, -STC, -WPV, -WTC.
    Cost: a uniform step; nothing is probed.
    Deviations: the paper's text was not at hand. The variance with its confidence term agrees with the unofficial
        songhwanjun/ActiveBias, whose burn-in of 15 in 200 epochs is taken; threshold closeness, mean (1 - mean), with
        allenai/cartography, which has it as this paper's. Unverified: the smoothing constant, here the mean over the pool (in
        songhwanjun's 0.2). Weights have mean 1 within a mini-batch, as there. An example drawn twice in a
        mini-batch is remembered once, with the larger probability.
    """

    by: str = hyper("variance", choices=("variance", "closeness"), help="variance of the probability, or mean (1 - mean)")
    form: str = hyper("draw", choices=("draw", "weigh"), help="draw more often, or deal uniformly and weigh the losses")
    burn_in: float = hyper(
        0.075, low=0.0, high=1.0, help="spent share of the budget until which examples are dealt uniformly", search=(0.0, 0.3)
    )

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.tree_ = SumTree(pool.size, pool.labels.device, fill=0.0)  # uncertainty; 0 where never seen, or once for the variance
        zeros = torch.zeros(pool.size, dtype=torch.float64, device=pool.labels.device)
        self.seen_, self.mean_, self.squares_ = zeros, zeros.clone(), zeros.clone()  # |H|, mean, sum of squared deviations

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        if progress < self.burn_in or self.form == "weigh":
            index = self.deck_.deal(n, lambda: self.pool.everyone)
            return Batch(index) if progress < self.burn_in else Batch(index, self._weight(index))
        # In proportion to v_i + mean(v): half of the draws by v_i, half uniform.
        device = self.pool.labels.device
        uncertain = self.tree_.draw(n, self.generator_)
        anyone = torch.randint(self.pool.size, (n,), generator=self.generator_, device=device)
        coin = torch.rand(n, generator=self.generator_, device=device)
        return Batch(torch.where(coin < 0.5, uncertain, anyone))

    def observe(self, signals: Signals) -> None:
        index = signals.index
        p = (-signals.loss.double()).exp()
        p = torch.where(index[:, None] == index, p, -1.0).amax(1)  # repeats write one value, in any order
        seen, gap = self.seen_[index] + 1.0, p - self.mean_[index]
        mean = self.mean_[index] + gap / seen
        squares = self.squares_[index] + gap * (p - mean)
        self.seen_[index], self.mean_[index], self.squares_[index] = seen, mean, squares
        variance = squares / seen
        spread = (variance + variance**2 / (seen - 1.0).clamp(min=1.0)).sqrt()
        self.tree_.update(index, spread if self.by == "variance" else mean * (1.0 - mean))

    def _weight(self, index: Tensor) -> Tensor:
        value = self.tree_.values[index].double() + self.tree_.total / self.pool.size
        mean = value.mean()
        return torch.where(mean > 0, value / mean, 1.0).float()

    def stored_values(self) -> Tensor:
        return self.tree_.values

    def draw_probability(self) -> Tensor:
        uniform = 1.0 / self.pool.size
        return uniform + 0.0 * self.tree_.values.double() if self.form == "weigh" else 0.5 * (self.tree_.probability() + uniform)
