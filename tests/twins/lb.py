"""LB (Duda et al. 2020, as on the slides), a second time."""

from __future__ import annotations

from twins._shared import TwinSignals
from twins._streaming import PoDTwin


class LBTwin(PoDTwin):
    def measure(self, signals: TwinSignals) -> list[float]:
        """p_i <- L(f(x_i), d_i)."""
        return signals.loss()
