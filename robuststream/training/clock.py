"""The clock of a run (rule 3): every moment belongs to exactly one account, so the phases add up to the wall by construction."""

from __future__ import annotations

import time

import torch

PHASES = ("draw", "probe", "fetch", "perturb", "forward", "backward", "step", "observe")
"""On the clock: their sum is the run's training seconds."""

OFF_CLOCK = ("evaluation", "attack", "checkpoint", "compile")
"""Recorded apart."""


class Clock:
    """Seconds per account. `to(account)` closes the current one and opens the next, and returns the one that was open.

    The device is waited for only when the clock goes on or off (the borders of a window), never between phases: on a GPU the
    split into phases is of the host's time, while their sum is true.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = dict.fromkeys((*PHASES, *OFF_CLOCK), 0.0)
        self.device, self._runs_ahead = device, device.type == "cuda"
        self.account: str = "compile"
        self._since = time.perf_counter()

    def to(self, account: str) -> str:
        if self._runs_ahead and (account in OFF_CLOCK) != (self.account in OFF_CLOCK):
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[self.account] += now - self._since
        previous, self.account, self._since = self.account, account, now
        return previous

    @property
    def training(self) -> float:
        """Seconds on the clock, up to the last change of account."""
        return sum(self.seconds[phase] for phase in PHASES)

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint; what this process spent on setting up is added to it."""
        self.seconds = {account: seconds + self.seconds[account] for account, seconds in state.items()}
