"""What a companion costs stands beside what a sampler costs; a line without it is labelled and never the headline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from _fake_study import BUDGET, TWICE, UNIFORM, fake_runs, fake_study
from _runs import settings
from robuststream.evidence.speedup import HEADLINE
from robuststream.records import read_evaluations
from robuststream.reporting.markdown import quantity
from robuststream.reporting.tables import AMORTISED, cost_table, has_companions, speedup_table
from robuststream.training.loop import train
from test_evidence import summary_of

PAYS = dataclasses.replace(TWICE, speed=1.0, auxiliary=0.3)


def test_companions_have_a_column_and_an_amortised_line() -> None:
    summary = summary_of(fake_runs((UNIFORM, PAYS)))
    lines = cost_table(summary).splitlines()
    assert "of these, companions" in lines[0]
    assert f"| plb, {AMORTISED} |" in lines[4]
    assert quantity(0.3 * BUDGET) in lines[3]
    assert quantity(0.7 * BUDGET) in lines[4]
    assert "–" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_the_amortised_speed_up_leaves_out_the_companions_and_the_headline_does_not() -> None:
    """Uniform reaches T95 at .722 of the budget, found at .75; without 30 % of the budget that is .45."""
    summary = summary_of(fake_runs((UNIFORM, PAYS), seeds=10))
    arm = summary.scenarios[0].arms[1]
    free = dataclasses.replace(PAYS, auxiliary=0.0)
    paid = summary_of(fake_runs((UNIFORM, free), seeds=10)).scenarios[0].arms[1]
    assert arm.speedups[HEADLINE] == paid.speedups[HEADLINE]
    ratio, charged = arm.amortised["T95"].ratio, arm.speedups[HEADLINE].ratio
    assert ratio is not None
    assert charged is not None
    assert ratio.value > 1.5 * charged.value
    assert arm.amortised["T95"].p is None
    assert f"| plb, {AMORTISED} | T95 | – | – |" in speedup_table(summary.scenarios[0], summary)


def test_without_companions_there_is_neither(tmp_path: Path) -> None:
    summary = summary_of(fake_runs((UNIFORM, TWICE)))
    assert not has_companions(summary)
    assert "companions" not in cost_table(summary)
    assert AMORTISED not in speedup_table(summary.scenarios[0], summary)
    assert fake_study(tmp_path / "study", (UNIFORM,)).exists()


def test_a_run_records_what_its_companions_cost_and_others_record_nothing_new(tmp_path: Path) -> None:
    for name in ("uniform", "rho-loss"):
        (tmp_path / name).mkdir()
        result = train(settings(name, "clean", "budget=4"), tmp_path / name)
        rows = read_evaluations(tmp_path / name / "records.jsonl")
        if name == "uniform":
            assert not any("auxiliary_flops" in row for row in rows)
        else:
            assert rows[-1]["auxiliary_flops"] == pytest.approx(result["totals"]["auxiliary"]["flops"])
            assert 0 < rows[-1]["auxiliary_flops"] < rows[-1]["flops"]
