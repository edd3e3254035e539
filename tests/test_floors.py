"""The house: imports run down the floors of their own tower only, and no plug-in knows another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from robuststream import registry

PACKAGE = Path(registry.__file__).parent

GROUND = {"errors", "radius"}
BRIDGE = {"config", "studies", "records", "shapes"}
FLOOR_0 = {"contracts", "hyperparameters", "registry"} | GROUND
ALLOWED = {
    # the ground and the bridge
    "errors": set(),
    "radius": {"errors"},
    "compiled": GROUND,
    "dispatch": set(),
    "hyperparameters": GROUND,
    "registry": GROUND,
    "shapes": GROUND,
    "files": GROUND,
    "names": set(),
    "archive": GROUND | {"files", "names"},
    "records": GROUND | {"shapes", "files", "names", "archive"},
    "config": GROUND,
    "studies": GROUND | {"registry", "config"},
    # the torch tower
    "entropy": GROUND | {"compiled"},
    "contracts": GROUND | {"hyperparameters", "entropy"},
    "sumtree": GROUND | {"compiled"},
    "samplers": FLOOR_0 | {"sumtree"},
    "attacks": FLOOR_0 | BRIDGE,
    "learners": FLOOR_0,
    "scenarios": FLOOR_0 | {"attacks", "data"},
    "data": FLOOR_0 | BRIDGE | {"compiled", "dispatch"},
    "models": FLOOR_0 | BRIDGE,
    "checks": FLOOR_0 | {"dispatch"},
    "training": FLOOR_0 | BRIDGE | {"dispatch", "entropy", "samplers", "scenarios", "attacks", "data", "models"},
    "study": FLOOR_0 | BRIDGE | {"data", "training", "checks", "reporting"},
    # the results tower
    "evidence": GROUND | BRIDGE,
    "reporting": GROUND | BRIDGE | {"evidence"},
    # the roof
    "listing": FLOOR_0 | BRIDGE | {"attacks", "entropy", "sumtree", "data", "models", "study"},
    "cli": FLOOR_0 | BRIDGE | {"data", "study", "reporting", "listing"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""Which rooms each room may import, beside itself. A new room is a new line here."""

TORCHLESS = (
    "errors",
    "hyperparameters",
    "registry",
    "radius",
    "config",
    "studies",
    "files",
    "names",
    "archive",
    "records",
    "shapes",
    "cli",
    "reporting.report",
    "evidence.summary",
)


def room(module: str) -> str:
    """`robuststream.training.loop` -> `training`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    """Full names of the modules of ours that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "robuststream":
            assert node.level == 0
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if is_module(name) else str(node.module) for name in submodules}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "robuststream"}
    return found


def is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(("robuststream", *path.relative_to(PACKAGE).with_suffix("").parts))


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_imports_run_down(path: Path) -> None:
    here = room(name_of(path))
    assert here in ALLOWED, f"'{here}' is a room without a floor; give it a line in ALLOWED"
    for target in imports(path):
        there = room(target)
        assert there in ALLOWED[here] | {here, "__init__"}, f"forbidden arrow: {name_of(path)} -> {target}"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_no_plugin_imports_another(kind: str) -> None:
    for path in (PACKAGE / kind).glob("[!_]*.py"):
        for target in imports(path):
            own = room(target) == kind and not target.split(".")[-1].startswith("_") and target != f"robuststream.{kind}"
            assert not own, f"forbidden arrow: {name_of(path)} -> {target}; shared parts sit in files that begin with _"


def test_nothing_below_the_study_names_a_method() -> None:
    """The words of code (identifiers and strings that are no docstring) of the lower floors hold no sampler's name."""
    methods = {name.replace("-", "_") for name in registry.names("samplers")} - {"uniform"}  # the baseline of all ratios
    for path in files():
        if room(name_of(path)) in {"samplers", "cli", "study", "listing"}:
            continue
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        for node in ast.walk(tree):
            words = {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
                words = {node.value}
            named = {word for word in words if word.lower().replace("-", "_") in methods}
            assert not named, f"{name_of(path)} names the method {named}"


@pytest.mark.parametrize("module", TORCHLESS)
def test_the_results_tower_never_imports_torch(module: str) -> None:
    code = f"import robuststream.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_top_level_is_as_promised() -> None:
    assert not list(PACKAGE.rglob("utils.py"))


def test_a_forbidden_arrow_is_seen(tmp_path: Path) -> None:
    """The reader of imports sees each form of import that Python has."""
    path = tmp_path / "file.py"
    path.write_text(
        "import robuststream.study.plan\ndef f():\n    from robuststream.training import loop\n    from robuststream import cli\n"
    )
    assert {room(name) for name in imports(path)} == {"study", "training", "cli"}


def test_one_module_imports_torchattacks() -> None:
    """It disturbs modes, gradients and generators; `attacks` puts them back."""
    guilty = [name_of(path) for path in files() if "torchattacks" in foreign(path)]
    assert guilty == ["robuststream.attacks"]


def foreign(path: Path) -> set[str]:
    """First names of all modules that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}}
