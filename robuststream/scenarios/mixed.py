"""Several scenarios at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from robuststream import registry
from robuststream.contracts import Lesson, Scenario, Split
from robuststream.errors import UserError
from robuststream.hyperparameters import hyper


@dataclass
class Mixed(Scenario):
    """Scenarios in order: each corrupts and perturbs what the one before left; their figures stand side by side.

    In YAML a list stands for it: `both: [{kind: label-noise, rate: 0.2}, {kind: adversarial-pgd}]`.

    Paper: none.
    Cost: that of its parts.
    Deviations: the first part's random numbers are those that it would draw alone. One part at most may say how a mini-batch is
        learned, and none may perturb after it.
    """

    parts: list[dict[str, Any]] = hyper([], help="scenarios in order, each {kind: name, setting: value, ...}")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._parts = [_build(part, place) for place, part in enumerate(self.parts)]
        self._kinds = [registry.canonical(given["kind"]) for given in self.parts]
        self._teacher = self._find_teacher()

    def _find_teacher(self) -> Scenario:
        """The part that says how a mini-batch is learned; the clean world where none does."""
        teachers = [part for part in self._parts if _overrides(part, "learn") or _overrides(part, "replays")]
        names = [type(part).__name__ for part in teachers]
        if len(teachers) > 1:
            raise UserError(f"Mixed: {names[0]} and {names[1]} both say how a mini-batch is learned; one of the parts may")
        if not teachers:
            return Scenario()
        for part in self._parts[self._parts.index(teachers[0]) + 1 :]:
            if _overrides(part, "perturb"):
                raise UserError(f"Mixed: {type(part).__name__} cannot perturb what {names[0]} learns; put it before")
        return teachers[0]

    def settings(self) -> dict[str, Any]:
        """Every part with its kind and every hyperparameter, defaults included."""
        pairs = zip(self._kinds, self._parts, strict=True)
        return {"parts": [{"kind": kind, **part.settings()} for kind, part in pairs]}

    def fingerprint(self) -> str:
        sources = [registry.source("scenarios", kind) for kind in self._kinds]
        return " ".join(filter(None, [*sources, *(part.fingerprint() for part in self._parts)]))

    @property
    def hostile(self) -> bool:
        return any(part.hostile for part in self._parts)

    @property
    def replays(self) -> int:
        return self._teacher.replays

    def corrupt(self, train: Split, generator: Generator) -> Split:
        if not self._parts:
            raise UserError("Mixed: parts is empty; a list of scenarios is needed, each {kind: name, setting: value, ...}")
        for place, part in enumerate(self._parts):
            own = torch.Generator().manual_seed(generator.initial_seed() ^ place) if place else generator
            train = part.corrupt(train, own)
        return train

    def facts(self) -> dict[str, Any]:
        """By place and kind of the part, as in `1 poisoned`."""
        found = {f"{place} {kind}": self._parts[place].facts() for place, kind in enumerate(self._kinds)}
        return {name: facts for name, facts in found.items() if facts}

    def start(self, train: Split, generator: Generator) -> None:
        super().start(train, generator)
        for part in self._parts:
            part.start(train, generator)

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        for part in self._parts:
            images = part.perturb(model, images, labels)
        return images

    def learn(self, model: nn.Module, images: Tensor, labels: Tensor) -> Lesson:
        return self._teacher.learn(model, images, labels)

    def learned(self, gradient: Tensor) -> None:
        self._teacher.learned(gradient)

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Every part's figures; a name that an earlier part has taken gets its own part's place behind it."""
        figures: dict[str, float] = {}
        for place, part in enumerate(self._parts):
            found = part.evaluate(model, split)
            figures |= {f"{name}_{place}" if name in figures else name: figure for name, figure in found.items()}
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {str(place): part.state_dict() for place, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for place, part in enumerate(self._parts):
            part.load_state_dict(state[str(place)])


def _overrides(part: Scenario, name: str) -> bool:
    return getattr(type(part), name) is not getattr(Scenario, name)


def _build(given: Any, place: int) -> Scenario:
    """One part, checked. Raises UserError that names its place in the list."""
    where = f"parts[{place}]"
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str):
        raise UserError(f"{where}={given!r} is not possible (a mapping with its kind is needed, {{kind: name, setting: value}})")
    settings = {key: value for key, value in given.items() if key != "kind"}
    return registry.load("scenarios", given["kind"], Scenario).from_settings(settings, where)
