"""Plug-ins by name: a file of ours, an entry point of somebody else's, or `path/to/file.py:Class`. Names cost no import."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from robuststream.errors import UserError, meant

KINDS = ("samplers", "learners", "scenarios", "models")
"""Each kind is a folder of this package: one file per method, found by its name; `_files` are shared parts."""


def names(kind: str) -> list[str]:
    """Every name of this kind, ours and the installed third parties', without importing any of them."""
    return sorted({*_ours(kind), *_entry_points(kind)})


def canonical(name: str) -> str:
    """Names are written with hyphens; an underscore means the same. A file's name stays as it is."""
    return name if ".py" in name else name.replace("_", "-")


def require(kind: str, name: str) -> None:
    """Refuse a name that does not exist (a file's existence counts; its content is read by `load`)."""
    if ".py" in name:
        path, _, _ = name.rpartition(":")
        if not Path(path or name).is_file():
            raise UserError(f"{kind[:-1]} '{name}': there is no file {path or name}")
    elif canonical(name) not in _ours(kind) and canonical(name) not in names(kind):  # reading entry points costs milliseconds
        raise UserError(f"unknown {kind[:-1]} '{name}'; {meant(name, names(kind))}")


def load(kind: str, name: str, base: type) -> type:
    """The class behind a name: a subclass of `base`. Raises UserError with the reason in one line."""
    require(kind, name)
    if ".py" in name:
        return _from_file(kind, name, base)
    if canonical(name) in _ours(kind):
        return _only_class(importlib.import_module(f"robuststream.{kind}.{name.replace('-', '_')}"), base)
    try:
        loaded = _entry_points(kind)[canonical(name)].load()
    except (Exception, SystemExit) as error:
        raise UserError(_does_not_import(f"{kind[:-1]} '{name}'", error)) from error
    if not (inspect.isclass(loaded) and issubclass(loaded, base)):
        raise UserError(f"{kind[:-1]} '{name}' is not a subclass of {base.__name__}")
    return loaded


def source(kind: str, name: str) -> str:
    """What identifies a third party's code: the hash of its file, or its package's version; '' for our own."""
    if ".py" in name:
        return hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()[:10]
    point = _entry_points(kind).get(canonical(name))
    return f"{point.dist.name} {point.dist.version}" if point is not None and point.dist is not None else ""


@cache
def _ours(kind: str) -> frozenset[str]:
    folder = Path(__file__).parent / kind
    return frozenset(canonical(path.stem) for path in folder.glob("*.py") if not path.stem.startswith("_"))


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    """Third parties' by name. None hides one of ours: the baseline of all ratios must be what its name says."""
    found = {canonical(point.name): point for point in entry_points(group=f"robuststream.{kind}")}
    return {name: point for name, point in found.items() if name not in _ours(kind)}


def _does_not_import(what: str, error: BaseException) -> str:
    return " ".join(f"{what} does not import: {type(error).__name__}: {error}".split())


def _from_file(kind: str, name: str, base: type) -> type:
    path, _, class_name = name.rpartition(":")
    if not path:
        raise UserError(f"{kind[:-1]} '{name}': name the class too, as {name}:ClassName")
    module = _import_file(Path(path).resolve(), f"{kind[:-1]} '{name}'")
    found = getattr(module, class_name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)]
        raise UserError(
            f"{path} defines no class '{class_name}'; {meant(class_name, [c for c in classes if c != base.__name__])}"
        )
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UserError(f"{kind[:-1]} '{name}': {class_name} is not a subclass of {base.__module__}.{base.__name__}")
    return found


def _import_file(path: Path, where: str) -> ModuleType:
    module_name = f"robuststream_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UserError(_does_not_import(where, error)) from error
    return module


def _only_class(module: ModuleType, base: type) -> type:
    own = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base) and c.__module__ == module.__name__]
    assert len(own) == 1, f"{module.__name__} must define exactly one {base.__name__}, it defines {len(own)}"
    return own[0]
