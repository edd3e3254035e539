"""Several budgets in one study: every budget trained anew with its own decayed schedule, read together as a trade-off."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from _fake_study import EPOCHS, TWICE, UNIFORM, fake_budgets
from robuststream import records
from robuststream.errors import UserError
from robuststream.evidence.summary import summarise
from robuststream.evidence.tradeoff import at_whole_budget
from robuststream.records import read_study
from robuststream.reporting.report import context, render
from robuststream.reporting.versus import tradeoff_rows
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.study.planned import study_settings
from robuststream.training.loop import train

SHARES = (0.25, 0.5, 1.0)
LESS = dataclasses.replace(TWICE, label="less", top=0.85)


def test_each_budget_is_a_run_of_its_own_and_the_whole_one_is_any_other_studys(tmp_path: Path) -> None:
    plain = load_study("noisy-labels", ["seeds=2"])
    several = load_study("noisy-labels", ["seeds=2", "budgets=[1, 0.25, 2]"])
    assert several.budgets == [0.25, 1.0, 2.0]
    ours, theirs = plan(several, tmp_path), {run.name for run in plan(plain, tmp_path)}
    assert len({run.name for run in ours}) == 3 * len(theirs)
    assert theirs == {run.name for run in ours if run.settings.recipe.budget.amount == plain.recipe.budget.amount}
    assert {run.settings.recipe.budget.amount / plain.recipe.budget.amount for run in ours} == {0.25, 1.0, 2.0}


def test_studies_with_one_budget_say_nothing_of_budgets(tmp_path: Path) -> None:
    study = load_study("noisy-labels", ["seeds=1"])
    assert {"budgets", "placebos"}.isdisjoint(study_settings(study, plan(study, tmp_path), ""))


def test_the_arms_of_a_budget_stand_together(tmp_path: Path) -> None:
    runs = plan(load_study("noisy-labels", ["seeds=2", "budgets=[0.5, 1]"]), tmp_path)
    blocks = [runs[place : place + 8] for place in range(0, len(runs), 8)]
    for block in blocks:
        assert len({(run.settings.seed, run.settings.scenario.label, run.settings.recipe.budget.amount) for run in block}) == 1
    assert len({tuple(run.settings.sampler.label for run in block) for block in blocks}) > 1


@pytest.mark.parametrize("wrong", ["[0, 1]", "[1, 1]", "[-1]", "0.5", "[a]"])
def test_what_is_no_list_of_shares_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="budgets"):
        load_study("noisy-labels", [f"budgets={wrong}"])


def test_every_budget_ends_decayed(tmp_path: Path) -> None:
    """The learning rate follows the spent share of the run's own budget, so a short run is no beginning of a long one."""
    study = load_study(
        "noisy-labels",
        ["samplers=uniform", "scenarios=clean", "seeds=1", "recipe.train_size=200", "budget=4", "budgets=[0.5, 1]"],
    )
    ends, steps = [], []
    for run in plan(study, tmp_path):
        run.folder.mkdir(parents=True)
        steps.append(train(run.settings, run.folder)["totals"]["steps"])
        rates = [row["lr"] for row in records.read_evaluations(run.folder / "records.jsonl")]
        ends.append(rates[-1] / max(rates))
    assert steps[1] == pytest.approx(2 * steps[0], abs=1)
    assert max(ends) < 0.1


def test_the_curve_holds_what_was_planted(tmp_path: Path) -> None:
    study, runs = read_study(fake_budgets(tmp_path / "curve", (UNIFORM, TWICE, LESS), SHARES))
    summary = summarise(study, runs)
    assert [curve.sampler for curve in summary.tradeoffs] == ["uniform", "plb", "less"]
    for curve, top in zip(summary.tradeoffs, (0.9, 0.92, 0.85), strict=True):
        assert [point.amount for point in curve.points] == [share * EPOCHS for share in SHARES]
        assert [point.accuracy.mean for point in curve.points] == pytest.approx([top - 0.01 - 0.1 * (1 - s) for s in SHARES])
    plb = summary.tradeoffs[1]
    assert [point.gap.points for point in plb.points if point.gap] == pytest.approx([2.0, 2.0, 2.0])
    assert [point.whole.points for point in plb.points if point.whole] == pytest.approx([-5.5, -3.0, 2.0])
    assert [[point.best for point in curve.points] for curve in summary.tradeoffs] == [[False] * 3, [True] * 3, [False] * 3]
    assert plb.points[0].gap.p == pytest.approx(min(1.0, 6 * 2 / 2**5))  # type: ignore[union-attr]  # 2 arms, 3 budgets


def test_all_else_is_told_of_the_recipes_own_budget(tmp_path: Path) -> None:
    study, runs = read_study(fake_budgets(tmp_path / "curve", (UNIFORM, TWICE), SHARES))
    summary = summarise(study, runs)
    assert (summary.finished, summary.planned) == (30, 30)
    arm = summary.scenarios[0].arms[1]
    assert (arm.finished, arm.planned) == (5, 5)
    assert arm.last_test is not None
    assert arm.last_test.mean == pytest.approx(0.91)
    assert {run.budget for run in at_whole_budget(study, runs)} == {EPOCHS}
    assert {run.budget for run in at_whole_budget(study | {"budgets": [0.25, 0.5]}, runs)} == {0.5 * EPOCHS}
    assert at_whole_budget(study | {"budgets": []}, runs) == list(runs)


def test_the_report_has_the_curve_and_others_have_none(tmp_path: Path) -> None:
    study, runs = read_study(fake_budgets(tmp_path / "curve", (UNIFORM, TWICE), SHARES))
    summary = summarise(study, runs)
    text = render(context(study, runs, summary))
    assert "## By budget" in text
    assert "2 samplers × 1 scenario × 5 seeds × 3 budgets" in text
    rows = tradeoff_rows(summary, "epochs")
    assert rows[0] == ["scenario", "sampler", "2.5 epochs", "5 epochs", "10 epochs"]
    assert rows[2][4] == "**91.00 ± 0.63** (+2.00 [+2.00, +2.00])"
    assert tradeoff_rows(summarise(study | {"budgets": []}, at_whole_budget(study, runs)), "epochs") == []
