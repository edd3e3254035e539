"""The benchmark of inner loops at a tiny size: every arm attacks and learns, lines are complete. No figure is tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchattacks")
FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))  # where a script finds its neighbours

# ruff: noqa: E402
import attacks
from harness.measure import Rules

from robuststream.models._build import build

TINY = Rules(blocks=2, seconds=1e-5, budget=0.01, least=2, share=0.0)  # any share: a test machine is seldom quiet
CELL = attacks.Cell("small-cnn", 8, 4, 3)


def test_every_arm_finds_the_same_kind_of_example() -> None:
    """All four stay in the ball, move nearly every pixel, and raise the loss alike."""
    images, labels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(4)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.utils.skip_init(torch.nn.Linear, 64, 10))
    torch.nn.init.normal_(network[1].weight, generator=torch.Generator().manual_seed(1))
    torch.nn.init.zeros_(network[1].bias)
    network.requires_grad_(False)
    losses = []
    with torch.random.fork_rng():
        for way in (attacks.bare(3), attacks.ours(CELL), attacks.theirs(3), attacks.behind(3)):
            found = way(network, images, labels)
            assert float((found - images).abs().max()) <= attacks.EPS + 1e-6
            losses.append(float(torch.nn.functional.cross_entropy(network(found), labels)))
    before = float(torch.nn.functional.cross_entropy(network(images), labels))
    assert min(losses) > before + 1
    assert max(losses) - min(losses) < 0.2 * (max(losses) - before)


def test_every_arm_attacks_in_eval_mode_and_learns_in_train_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm whose attack ran with dropout would be dearer for another reason than its loop."""
    built, modes = [], []
    monkeypatch.setattr(attacks, "build", lambda *given, **named: built.append(build(*given, **named)) or built[-1])
    steps = attacks.arms(attacks.Cell("paper-cnn", 8, 4, 3))
    dropout = next(module for module in built[0].modules() if type(module).__name__ == "Dropout")
    dropout.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    with torch.random.fork_rng():
        for name, step in steps.items():
            modes.clear()
            step()
            assert modes == [False] * 3 + [True], name


def test_a_line_for_every_target(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "CELLS", (CELL,))
    with torch.random.fork_rng():
        attacks.main(["--quick"], TINY)
    lines = capsys.readouterr().out.splitlines()
    for name in (attacks.OURS, attacks.THEIRS, attacks.BEHIND):
        assert any(line.startswith(f"adversarial step, {name} / bare loop: worst") for line in lines)
