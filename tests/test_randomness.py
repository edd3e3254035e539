"""Determinism: every random number of the package comes from a stream that somebody named, derived from the seed or fixed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from robuststream import registry

PACKAGE = Path(registry.__file__).parent

GIVEN_A_GENERATOR = {
    *("rand", "randn", "randint", "randperm", "multinomial", "normal", "bernoulli", "poisson", "dropout"),
    *("random_", "normal_", "uniform_", "bernoulli_", "exponential_", "geometric_", "log_normal_", "cauchy_"),
}
"""Of torch: each call names its generator."""

NEVER = {
    "rand_like",
    "randn_like",
    "randint_like",
    "dropout_",
    "urandom",
    "uuid4",
    "SystemRandom",
    "token_bytes",
    "getrandbits",
    "shuffle_",
}
"""These take no generator, or no seed."""

SOURCES = {
    "samplers": "sampler: `generator_`, from the stream of that name",
    "sumtree": "sampler: the generator that a draw is handed",
    "contracts": "sampler: makes `generator_` from the pool's seed",
    "scenarios": "noise or attack: the generator that a scenario is handed",
    "data": "augmentation: the generator of the batches; split: scikit-learn with the split stream's state",
    "models": "init: torch's own generator, forked and seeded from the stream; dropout: the generator of that stream",
    "training": "diagnostics, companions, and where all streams are made (streams.py)",
    "study": "the order of arms, from the names of study and scenario and the seed",
    "evidence": "resampling, from a fixed seed",
    "checks": "the toy world of `check`, from fixed seeds",
    "attacks": "attack: a generator from the stream of that name",
    "prices": "none that is kept: shapes alone are counted",
}
"""Every room that draws random numbers, and the stream they come from. A new one is a new line here."""


def calls(path: Path) -> list[tuple[str, str, ast.Call]]:
    """(dotted function, its last name, call) of every call in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            dotted = ast.unparse(node.func)
            found.append((dotted, dotted.rpartition(".")[2], node))
    return found


def complaint(path: Path, dotted: str, name: str, call: ast.Call) -> str:
    """Why this call's numbers do not come from a named stream; '' where they do or it draws none."""
    keywords = {keyword.arg for keyword in call.keywords}
    if name in NEVER:
        return "takes no generator"
    if dotted.startswith(("np.random.", "numpy.random.")):
        fine = (name == "default_rng" and call.args) or name in ("get_state", "set_state")  # kept, and given back untouched
        return "" if fine else "is numpy's global generator, or has no seed"
    if dotted.startswith("random."):
        own = dotted.startswith("random.Random(") and not dotted.startswith("random.Random()")
        fine = own or (name == "Random" and call.args) or name in ("getstate", "setstate")  # kept, and given back untouched
        return "" if fine else "is Python's global generator, or has no seed"
    if ".init." in f".{dotted}":
        fine = path.parent.name == "models" or "generator" in keywords or name in ("zeros_", "ones_", "constant_", "dirac_")
        return "" if fine else "is given no generator"  # those of the models draw under the fork of _build.py
    if name in GIVEN_A_GENERATOR and not dotted.startswith(("generator.", "rng.")):
        return "" if "generator" in keywords else "is given no generator"
    if name == "train_test_split":
        return "" if "random_state" in keywords else "is given no random_state"
    if name in ("manual_seed", "seed"):
        fine = dotted.startswith("torch.Generator(") or "generator" in dotted.lower() or call.lineno in forked(path)
        return "" if fine else "seeds globally"
    return ""


def forked(path: Path) -> set[int]:
    """The lines of a file at which torch's global generator is a fork, that is given back as it was."""
    blocks = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.With)]
    inside = [block for block in blocks if any("fork_rng" in ast.unparse(item) for item in block.items)]
    return {line for block in inside for line in range(block.lineno, (block.end_lineno or block.lineno) + 1)}


def draws(name: str, dotted: str) -> bool:
    named = name in GIVEN_A_GENERATOR | {"default_rng", "train_test_split"}
    return named or dotted.startswith("random.Random") or ".init." in f".{dotted}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_random_number_comes_from_a_named_stream(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for dotted, name, call in calls(path):
        why = complaint(path, dotted, name, call)
        assert not why, f"{path.name}:{call.lineno}: {dotted} {why}"
        if draws(name, dotted):
            assert room in SOURCES, f"{path.name}:{call.lineno}: {dotted} draws; say in SOURCES from which stream '{room}' does"


def test_initial_weights_are_drawn_under_a_forked_generator() -> None:
    """Where torch leaves no choice: its layers initialise from the global generator, so that is forked and seeded."""
    tree = ast.parse((PACKAGE / "models" / "_build.py").read_text())
    forks = [node for node in ast.walk(tree) if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0])]
    assert len(forks) == 1
    assert "manual_seed(init_seed)" in ast.unparse(forks[0])
    seeded = [node for node in ast.walk(tree) if isinstance(node, ast.With) and "_seeded(" in ast.unparse(node.items[0])]
    assert "_seeded(init_seed)" in "".join(ast.unparse(node.items[0]) for node in seeded)
    inside = {id(call) for node in seeded for call in ast.walk(node)}
    made = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call).startswith("cls(shape")]
    assert made
    assert all(id(call) in inside for call in made)


@pytest.mark.parametrize(
    "line",
    [
        "torch.rand(3)",
        "torch.randperm(n, device=device)",
        "x.normal_()",
        "torch.rand_like(x)",
        "np.random.rand(3)",
        "np.random.default_rng()",
        "random.random()",
        "random.Random()",
        "random.seed(0)",
        "torch.manual_seed(0)",
        "nn.init.normal_(weight)",
        "torch.nn.init.kaiming_uniform_(weight, nonlinearity='relu')",
        "train_test_split(x, test_size=0.1)",
        "F.dropout(x, 0.5)",
        "os.urandom(8)",
    ],
)
def test_a_number_from_nowhere_is_seen(line: str, tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text(line + "\n")
    assert any(complaint(path, *found) for found in calls(path))
