"""Targets: a figure per cell, the worst of them, and one line that says whether it is met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured ratio (or amount), where it was measured, and what it may be at most."""

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

    @property
    def worst(self) -> Figure | None:
        return max(self.figures, key=lambda figure: figure.value / figure.limit, default=None)

    @property
    def verdict(self) -> str:
        if self.worst is None:
            return f"not measured: {self.reason}"
        return "met" if self.worst.value <= self.worst.limit else "NOT MET"

    def line(self) -> str:
        """`name: worst figure, target, verdict`."""
        if self.worst is None:
            return f"{self.name}: {self.verdict}"
        worst, unit = self.worst, self.unit
        met = sum(figure.value <= figure.limit for figure in self.figures)
        partly = f"; not measured: {self.reason}" if self.reason else ""
        return (
            f"{self.name}: worst {worst.value:.4g}{unit} ({worst.where}), target <= {worst.limit:g}{unit}, "
            f"{self.verdict} (in {met} of {len(self.figures)} cells{partly})"
        )

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "verdict": self.verdict, "reason": self.reason, "figures": [asdict(f) for f in self.figures]}


@dataclass(frozen=True)
class AtLeast(Target):
    """A target from below: the worst figure is the smallest."""

    @property
    def worst(self) -> Figure | None:
        return min(self.figures, key=lambda figure: figure.value / figure.limit, default=None)

    @property
    def verdict(self) -> str:
        if self.worst is None:
            return f"not measured: {self.reason}"
        return "met" if self.worst.value >= self.worst.limit else "NOT MET"

    def line(self) -> str:
        if self.worst is None:
            return f"{self.name}: {self.verdict}"
        worst, met = self.worst, sum(figure.value >= figure.limit for figure in self.figures)
        partly = f"; not measured: {self.reason}" if self.reason else ""
        return (
            f"{self.name}: worst {worst.value:.4g}{self.unit} ({worst.where}), target >= {worst.limit:g}{self.unit}, "
            f"{self.verdict} (in {met} of {len(self.figures)} cells{partly})"
        )


def target(name: str, figures: Iterable[Figure], *, unit: str = "x", reason: str) -> Target:
    """A target from what was measured; `reason` says what was not, '' where nothing is missing."""
    return Target(name, tuple(figures), unit, reason)
