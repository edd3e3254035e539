"""Hyperparameters as typed dataclass fields: the YAML schema, the `list` output, the repr and the run's identity at once."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

from robuststream.errors import UserError, meant


def hyper(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    help: str = "",
    search: tuple[Any, ...] = (),
) -> Any:
    """A dataclass field with a range: `low <= x <= high`, `above < x < below`, or one of `choices`.

    `search` is what `tune` may try: two numbers, lowest and highest, or else every value by name.
    """
    limits = {"low": low, "high": high, "above": above, "below": below, "choices": choices, "help": help, "search": search}
    metadata = {key: value for key, value in limits.items() if value not in (None, "", ())}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def allowed(metadata: typing.Mapping[str, Any]) -> str:
    """The range of a field in words: '> 0', '0 to 1', 'paper | composer'; '' where there is none."""
    if "choices" in metadata:
        return " | ".join(metadata["choices"])
    if "low" in metadata and "high" in metadata:
        return f"{metadata['low']} to {metadata['high']}"
    signs = {"above": ">", "low": ">=", "below": "<", "high": "<="}
    return " and ".join(f"{sign} {metadata[key]}" for key, sign in signs.items() if key in metadata)


class Hyperparameters:
    """Base of all plug-ins. A subclass is a `@dataclass`; its fields are checked when it is constructed."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in self.fields():
            value = getattr(self, field.name)
            if hints[field.name] is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)  # 2 and 2.0 are one setting, and so one run
                object.__setattr__(self, field.name, value)
            if not _is_a(value, hints[field.name]):
                raise UserError(self._complaint(field.name, value, f"must be {_words(hints[field.name])}"))
            if value is not None and not _in_range(value, field.metadata):
                raise UserError(self._complaint(field.name, value, f"allowed: {allowed(field.metadata)}"))

    def _complaint(self, name: str, value: object, rule: str) -> str:
        return f"{type(self).__name__}: {name}={value!r} is not possible ({rule})"

    @classmethod
    def fields(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The hyperparameters, in order; none where the class is no dataclass."""
        return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()

    @classmethod
    def from_settings(cls, settings: dict[str, Any], where: str) -> typing.Self:
        """Construct from a mapping read from YAML; an unknown key is answered with the nearest right one."""
        known = [field.name for field in cls.fields()]
        for key in settings:
            if key not in known:
                raise UserError(f"{where}: unknown key '{key}'; {meant(key, known)}")
        try:
            return cls(**settings)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except Exception as error:
            raise UserError(
                " ".join(f"{where}: {cls.__name__} cannot be built: {type(error).__name__}: {error}".split())
            ) from error

    def fingerprint(self) -> str:
        """Hash of whatever outside of the settings decides the numbers (a file that is read); '' where nothing does."""
        return ""

    def settings(self) -> dict[str, Any]:
        """Every hyperparameter with its value, defaults included."""
        return {field.name: getattr(self, field.name) for field in self.fields()}


def _is_a(value: object, hint: Any) -> bool:
    """Whether a value read from YAML may stand for a hyperparameter of this type."""
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, part) for part in typing.get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _in_range(value: Any, metadata: typing.Mapping[str, Any]) -> bool:
    """Not-a-number and infinity are outside every range."""
    if "choices" in metadata:
        return value in metadata["choices"]
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return True
    return (
        math.isfinite(value)
        and value >= metadata.get("low", value)
        and value <= metadata.get("high", value)
        and ("above" not in metadata or value > metadata["above"])
        and ("below" not in metadata or value < metadata["below"])
    )


def _words(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", dict: "a mapping"}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _words(part) for part in typing.get_args(hint))
    return names.get(typing.get_origin(hint) or hint, str(hint))
