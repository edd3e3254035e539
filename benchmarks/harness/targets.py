"""Targets: a figure per cell, the worst of them, and one line that says whether it is met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Figure:
    """One measured ratio (or amount), where it was measured, and its limit."""

    value: float
    limit: float
    where: str


@dataclass(frozen=True)
class Target:
    """A named target; `figures` is empty where nothing was measured, and then `reason` says why."""

    name: str
    figures: tuple[Figure, ...]
    unit: str = "x"
    reason: str = ""
    sign: ClassVar[str] = "<="

    @property
    def worst(self) -> Figure | None:
        return max(self.figures, key=lambda figure: figure.value / figure.limit, default=None)

    def meets(self, figure: Figure) -> bool:
        return figure.value <= figure.limit

    @property
    def verdict(self) -> str:
        if self.worst is None:
            return f"not measured: {self.reason}"
        return "met" if self.meets(self.worst) else "NOT MET"

    def line(self) -> str:
        """`name: worst figure, target, verdict`."""
        if self.worst is None:
            return f"{self.name}: {self.verdict}"
        worst, unit = self.worst, self.unit
        met = sum(map(self.meets, self.figures))
        partly = f"; not measured: {self.reason}" if self.reason else ""
        return (
            f"{self.name}: worst {worst.value:.4g}{unit} ({worst.where}), target {self.sign} {worst.limit:g}{unit}, "
            f"{self.verdict} (in {met} of {len(self.figures)} cells{partly})"
        )

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "verdict": self.verdict, "reason": self.reason, "figures": [asdict(f) for f in self.figures]}


class AtLeast(Target):
    """A target from below: the worst figure is the smallest."""

    sign = ">="

    @property
    def worst(self) -> Figure | None:
        return min(self.figures, key=lambda figure: figure.value / figure.limit, default=None)

    def meets(self, figure: Figure) -> bool:
        return figure.value >= figure.limit


def target(name: str, figures: Iterable[Figure], *, unit: str = "x", reason: str) -> Target:
    """A target from what was measured; `reason` says what was not, '' where nothing is missing."""
    return Target(name, tuple(figures), unit, reason)
