"""Proportional prioritized replay (Schaul et al. 2016, algorithm 1), a second time, with the loss for the TD error."""

from __future__ import annotations

from twins._shared import Dice, TwinProbe, TwinSignals
from twins._streaming import StreamingTwin, first_reaching


class PrioritizedTwin(StreamingTwin):
    precision = 5e-3  # a power below 1 of losses, then a negative power of that

    def __init__(
        self,
        size: int,
        batch_size: int,
        dice: Dice,
        warmup_epochs: float = 1.0,
        refresh: str = "pre",
        alpha: float = 0.6,
        beta_from: float = 0.4,
        beta_to: float = 1.0,
        epsilon: float = 1e-6,
        stratified: bool = True,
        scale: str = "max",
    ) -> None:
        super().__init__(size, batch_size, dice, warmup_epochs, refresh)
        self.alpha, self.beta, self.epsilon = alpha, (beta_from, beta_to), epsilon
        self.stratified, self.scale = stratified, scale

    def measure(self, signals: TwinSignals) -> list[float]:
        """p_i^alpha, p_i = |delta_i| + epsilon."""
        return [(loss + self.epsilon) ** self.alpha for loss in signals.loss()]

    def draw(self, probe: TwinProbe, progress: float) -> list[int]:
        batch = super().draw(probe, progress)
        if self.population is None:
            return batch
        beta = (1 - progress) * self.beta[0] + progress * self.beta[1]
        chance = self.probability()
        self.weight = [(1 / self.size / chance[i]) ** beta for i in batch]
        if self.scale == "max":
            largest = max(self.weight)
            self.weight = [w / largest for w in self.weight]
        return batch

    def pick(self, weights: list[float]) -> list[int]:
        """Appendix B.2.1: the range [0, total] is divided into k, and a value is drawn from each."""
        if not self.stratified:
            return super().pick(weights)
        k = self.batch_size
        return [first_reaching(weights, (part + 1.0 - r) / k) for part, r in enumerate(self.dice.uniform64(k))]
