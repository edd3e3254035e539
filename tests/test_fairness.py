"""Fairness by construction, sentence by sentence, where `test_training` and `test_config` do not hold it already."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from _fake_study import NEVER, TWICE, UNIFORM, fake_runs
from _runs import settings
from robuststream import records, registry
from robuststream.contracts import Scenario
from robuststream.evidence.speedup import SHARES
from robuststream.training.guard import RulesBroken, untouched_globals
from robuststream.training.loop import train
from robuststream.training.world import build_world
from test_evidence import flags_of, summary_of


def test_a_scenario_that_leaves_a_module_in_eval_mode_fails_its_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perturb(self: Scenario, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        model.eval()
        return images

    monkeypatch.setattr(registry.load("scenarios", "clean", Scenario), "perturb", perturb)
    with pytest.raises(RulesBroken, match=r"Clean\.perturb left the network in eval mode"):
        train(settings(), tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("flag", ["enabled", "benchmark", "deterministic", "allow_tf32"])
def test_each_cudnn_flag_is_guarded(flag: str) -> None:
    before = getattr(torch.backends.cudnn, flag)
    try:
        with pytest.raises(RulesBroken, match=rf"somebody changed torch\.backends\.cudnn\.{flag}"), untouched_globals("somebody"):
            setattr(torch.backends.cudnn, flag, not before)
    finally:
        setattr(torch.backends.cudnn, flag, before)


def test_a_placebo_shares_split_init_and_noise_with_the_other_arms_of_its_seed() -> None:
    run = settings("plb", "symmetric-40")
    arm = build_world(run)
    placebo = build_world(run.model_copy(update={"sampler": run.sampler.model_copy(update={"placebo": True})}))
    assert all(torch.equal(a, b) for a, b in zip(arm.bare.parameters(), placebo.bare.parameters(), strict=True))
    assert torch.equal(arm.pool.labels, placebo.pool.labels)
    assert arm.facts["labels"] == placebo.facts["labels"]


def test_targets_come_from_uniforms_validation_and_from_nothing_else() -> None:
    """Whatever the other arms reach, and whatever anybody's test accuracy is, the ladder stays where it is."""
    ladders = []
    for other, test in ((TWICE, 0.0), (NEVER, 0.0), (TWICE, 0.5)):
        runs = fake_runs((UNIFORM, other))
        for run in runs:
            assert run.result is not None
            run.result["last"]["test_accuracy"] -= test
        ladders.append(summary_of(runs).scenarios[0].ladder)
    assert ladders[0] == ladders[1] == ladders[2]
    assert ladders[0] is not None
    assert list(ladders[0].targets) == list(SHARES)
    better = summary_of(fake_runs((dataclasses.replace(UNIFORM, top=0.95), TWICE))).scenarios[0].ladder
    assert better is not None
    assert better.top > ladders[0].top


def test_every_result_and_study_carries_the_version_of_the_rules(tmp_path: Path) -> None:
    result = train(settings(), tmp_path)
    assert result["rules"] == records.RULES == settings().rules


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"phases": {"fetch": 0.31}}, "data-bound"),
        ({"phases": {"fetch": 0.29}}, None),
        ({"evaluation": 0.26}, "evaluation heavy"),  # of the wall: .26 / 1.26 is just above a fifth
        ({"evaluation": 0.24}, None),
    ],
)
def test_flags_of_the_clock_begin_where_rule_12_says(changes: dict[str, object], name: str | None) -> None:
    runs = []
    for run in fake_runs((UNIFORM, TWICE)):
        assert run.result is not None
        train_seconds = run.result["seconds"]["train"]
        run.result["seconds"] |= {"checkpoint": 0.0, "compile": 0.0}
        scaled = {
            key: value * train_seconds if isinstance(value, float) else {k: v * train_seconds for k, v in value.items()}  # type: ignore[attr-defined]
            for key, value in changes.items()
        }
        run.result["seconds"] |= scaled
        runs.append(run)
    raised = {flag for flag in flags_of(runs) if flag in ("data-bound", "evaluation heavy")}
    assert raised == ({name} if name else set())


@pytest.mark.parametrize(("last", "raised"), [(0.1, False), (0.11, True)])
def test_a_baseline_counts_as_decayed_at_a_tenth(last: float, raised: bool) -> None:
    runs = fake_runs((UNIFORM, TWICE))
    for run in runs:
        for place, row in enumerate(run.evaluations):
            row["lr"] = 1.0 if place == 0 else last
    assert ("baseline not decayed" in flags_of(runs)) is raised
