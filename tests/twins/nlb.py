"""NLB (Duda et al. 2020, as on the slides), a second time."""

from __future__ import annotations

import math

from twins._shared import TwinSignals
from twins._streaming import PoDTwin


class NLBTwin(PoDTwin):
    def measure(self, signals: TwinSignals) -> list[float]:
        """p_i <- tanh L(f(x_i), d_i)."""
        return [math.tanh(loss) for loss in signals.loss()]
