"""A network from its name and settings: checked, initialised from a seed of its own, normalising its own inputs."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from robuststream import registry
from robuststream.errors import UserError
from robuststream.hyperparameters import Hyperparameters, hyper
from robuststream.models._layers import Dropout, Normalise

Shape = tuple[int, int, int]  # (C, H, W)


def build(
    kind: str,
    settings: dict[str, Any],
    *,
    shape: Shape,
    num_classes: int,
    mean: Sequence[float] | Tensor,
    std: Sequence[float] | Tensor,
    init_seed: int,
    dropout_generator: torch.Generator,
    device: torch.device | str,
) -> nn.Sequential:
    """Normalise, then the network: (n, C, H, W) float32 in [0, 1] -> (n, K) logits.

    Weights depend on `init_seed` alone (drawn on the CPU, then moved) and no global generator is changed. `dropout_generator`
    lies on `device`. A class of a third party is built the same way; its attribute `smallest`, if there, is the least height
    and width in pixels. Raises UserError for a setting that does not exist or is out of range, for images that are too small,
    and for a network that draws from the global generator or does not answer with (n, K).
    """
    cls = registry.load("models", kind, nn.Module)
    chosen = _hyperparameters(cls).from_settings(settings, f"model '{kind}'").settings()
    smallest = getattr(cls, "smallest", 1)
    if min(shape[1:]) < smallest:
        raise UserError(f"model '{kind}' needs images of at least {smallest} x {smallest}, these are {shape[1]} x {shape[2]}")
    _try(cls, kind, shape, num_classes, _Chosen(chosen))
    with _seeded(init_seed):
        network = cls(shape, num_classes, **chosen)
    for name, module in network.named_modules():
        if isinstance(module, _DropoutNd):
            raise UserError(
                f"model '{kind}': its module '{name}' ({type(module).__name__}) draws from the global generator, "
                "so arms would not be comparable; use robuststream.models._layers.Dropout"
            )
        if isinstance(module, Dropout):
            module.generator = dropout_generator
    return nn.Sequential(Normalise(mean, std), network).to(device)


def parameters_of(cls: type) -> list[tuple[str, str, Any]]:
    """(name, type, default) of every hyperparameter of a network, in the order of its constructor."""
    hints = typing.get_type_hints(cls.__init__)
    return [(p.name, getattr(hint := hints.get(p.name, Any), "__name__", str(hint)), p.default) for p in _keywords(cls)]


def _keywords(cls: type) -> list[inspect.Parameter]:
    """What the constructor takes after the image shape and the number of classes."""
    return [p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]


@cache
def _hyperparameters(cls: type) -> type[Hyperparameters]:
    """The keyword arguments as a class of hyperparameters, so that they are checked as those of every other plug-in."""
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields = []
    for parameter in _keywords(cls):
        if parameter.default is parameter.empty:
            raise UserError(f"{cls.__name__}: hyperparameter '{parameter.name}' has no default")
        hint = hints.get(parameter.name, Any)
        limits = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, dict)), {})
        fields.append((parameter.name, hint, hyper(parameter.default, **limits)))
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(Hyperparameters,))


class _Chosen(dict[str, Any]):
    """Settings as a key of a cache."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(repr(sorted(self.items())))


@lru_cache(maxsize=16)
def _try(cls: type, kind: str, shape: Shape, num_classes: int, chosen: _Chosen) -> None:
    """Try one on a black image, so that a wrong network is refused here and not in the first step. Once per process and kind."""
    try:
        with _seeded(0), torch.no_grad():
            logits = cls(shape, num_classes, **chosen).eval()(torch.zeros(1, *shape))
    except UserError:
        raise
    except Exception as error:  # a third party's code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"model '{kind}' does not work on images of {' x '.join(map(str, shape))}: {reason}") from error
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        answer = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"model '{kind}' answers one image with {answer} instead of (1, {num_classes}) logits")


@contextmanager
def _seeded(init_seed: int) -> Iterator[None]:
    """The global generator, from which modules draw their weights, at a seed; afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(init_seed)  # torch.manual_seed would reseed the GPUs as well
        yield
