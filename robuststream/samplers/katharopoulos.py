"""Importance sampling by a bound of the gradient norm, which begins when it pays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.hyperparameters import hyper


@dataclass
class Katharopoulos(Sampler):
    """Of uniform candidates, draw by the norm of the last layer's gradient, with unbiased weights, once that reduces variance.

    Paper: Katharopoulos and Fleuret, ICML 2018, arXiv 1803.00942, algorithm 1; details from idiap/importance-sampling 9c9cab2.
    Cost: presample n forwards a step to probe while it is on (6 units where uniform has 3); a uniform step before.
    Deviations: none known. decide=epoch reads the criterion once in N / n steps, so that inside them nothing waits.
    """

    presample: float = hyper(3.0, low=1.0, help="B / b: candidates for each example that is learned", search=(1.5, 6.0))
    threshold: float | None = hyper(
        None, low=0.0, help="tau_th; null is (B + 3b) / 3b, where it pays in compute", search=(1.0, 3.0)
    )
    momentum: float = hyper(0.9, low=0.0, below=1.0, help="of the moving average of tau")
    decide: str = hyper("step", choices=("step", "epoch"), help="when tau is compared with its threshold")

    @property
    def waits_for_host(self) -> str:
        return "whether candidates are probed depends on tau, read at every step" if self.decide == "step" else ""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.tau_ = torch.zeros((), dtype=torch.float64, device=pool.labels.device)
        self.on_ = False
        self.steps_ = 0
        self.steps_on_ = 0

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        many = math.ceil(self.presample * n)
        if self.decide == "step" or self.steps_ % math.ceil(self.pool.size / n) == 0:
            self.on_ = bool(self.tau_ > (self.threshold if self.threshold is not None else (many + 3 * n) / (3 * n)))
        self.steps_ += 1
        if not self.on_:
            return Batch(self._uniform(n))
        self.steps_on_ += 1
        candidates = self._uniform(many)
        score = self._follow(probe(candidates).el2n)
        sums = score.cumsum(0)
        r = torch.rand(n, generator=self.generator_, dtype=torch.float64, device=sums.device)
        place = torch.searchsorted(sums, (1.0 - r) * sums[-1])
        return Batch(candidates[place], (score.mean() / score[place]).float())

    def observe(self, signals: Signals) -> None:
        if not self.on_:
            self._follow(signals.el2n)

    def _uniform(self, count: int) -> Tensor:
        return torch.randint(self.pool.size, (count,), generator=self.generator_, device=self.pool.labels.device)

    def _follow(self, score: Tensor) -> Tensor:
        """Scores (m,) in float64, ones where all are zero; tau follows 1 / sqrt(1 - |g - u|^2 / |g|^2) = sqrt(m) |g|."""
        score = score.double()
        score = torch.where(score.sum() > 0, score, 1.0)
        tau = math.sqrt(len(score)) * (score / score.sum()).norm()
        self.tau_ = self.momentum * self.tau_ + (1.0 - self.momentum) * tau
        return score

    def counters(self) -> dict[str, Tensor | int]:
        return {"steps_of_importance_sampling": self.steps_on_}
