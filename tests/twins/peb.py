"""PEB (PMLR 263:17-24, eq. 6), a second time."""

from __future__ import annotations

from typing import Any

from twins._shared import Dice, TwinSignals
from twins._streaming import StreamingTwin


class PEBTwin(StreamingTwin):
    def __init__(self, size: int, batch_size: int, dice: Dice, warmup_epochs: float = 1.0, **means: Any) -> None:
        super().__init__(size, batch_size, dice, warmup_epochs, **means)

    def measure(self, signals: TwinSignals) -> list[float]:
        """b_i = H(sigma(y_i))."""
        return signals.entropy()
