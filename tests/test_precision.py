"""The recipe's switches of precision, memory format and compilation change the speed of a run, not what it learns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from _runs import settings
from robuststream.training.loop import train
from robuststream.training.world import build_world

SWITCHES = ("recipe.precision=bf16", "recipe.channels_last=true")


@pytest.mark.parametrize("switches", [SWITCHES[:1], SWITCHES[1:], SWITCHES])
def test_logits_are_float32_and_near_those_of_plain_float32(switches: tuple[str, ...]) -> None:
    plain = build_world(settings("uniform", "clean", "recipe.model=paper-cnn"))
    other = build_world(settings("uniform", "clean", "recipe.model=paper-cnn", *switches))
    images, _ = plain.train.plain(torch.arange(64))
    with torch.no_grad():
        expected, found = (world.bare.eval()(images) for world in (plain, other))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.05)
    assert torch.equal(found, expected) == (switches == ())


def test_a_bf16_run_stores_values_of_float32_resolution(tmp_path: Path) -> None:
    """Weights and stored values keep float32's resolution: bf16 has 8 bits, and would make ties of most losses."""
    world = build_world(settings("plb", "clean", "recipe.precision=bf16"))
    assert {parameter.dtype for parameter in world.bare.parameters()} == {torch.float32}
    world.sampler.start(world.pool, world.probe)
    signals = world.probe(world.pool.everyone)
    assert signals.loss.dtype == torch.float32
    assert len(signals.loss.unique()) > 0.9 * len(signals.loss)


@pytest.mark.parametrize("switches", [("recipe.precision=fp32",), SWITCHES])
def test_each_switch_learns_and_repeats(switches: tuple[str, ...], tmp_path: Path) -> None:
    run = settings("uniform", "clean", "recipe.train_size=800", "budget=4", *switches)
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        results.append(train(run, tmp_path / name))
    assert results[0]["last"]["test_accuracy"] > 0.85
    assert results[0]["last"] == results[1]["last"]


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiling_is_off_the_clock_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers to rounding, and the seconds of compiling in their own account."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # what an earlier session compiled would be taken
    results = []
    for name, switch in (("a", "false"), ("b", "true")):
        (tmp_path / name).mkdir()
        run = settings("uniform", "clean", "recipe.model=paper-cnn", f"recipe.compile={switch}")
        results.append(train(run, tmp_path / name))
    plain, compiled = results
    assert compiled["last"]["validation_accuracy"] == pytest.approx(plain["last"]["validation_accuracy"], abs=0.05)
    assert compiled["totals"] == plain["totals"]
    assert compiled["seconds"]["compile"] > 5 * compiled["seconds"]["train"]
