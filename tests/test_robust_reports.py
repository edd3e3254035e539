"""Robustness in reports: what was planted is printed, doubts stand beside it, and a study without it has no word of it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from _fake_attacks import N, planted, study
from _fake_study import TWICE, UNIFORM, World, fake_study
from robuststream.evidence.intervals import t_interval, wilson
from robuststream.evidence.robustness import plane, prices, robustness
from robuststream.evidence.summary import in_order, summarise
from robuststream.records import read_study
from robuststream.reporting.export import export
from robuststream.reporting.merge import merge
from robuststream.reporting.report import context, render, write_report
from robuststream.reporting.robustness import section


def read(folder: Path) -> tuple[Any, Any]:
    read_back, runs = read_study(folder)
    return summarise(read_back, runs), in_order(read_back, [run for run in runs if run.result])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("robust") / "fake", lambda sampler, seed: [planted(sampler, seed)])


def test_the_two_intervals_are_kept_apart(folder: Path) -> None:
    (found,) = robustness(*read(folder))
    assert found.attacks == ("fgsm", "pgd")
    arms = {arm.sampler: arm for arm in found.arms}
    shares = [(80 + 2 * (seed % 5 - 2)) / N for seed in range(5)]
    uniform = arms["uniform"].worst
    assert uniform.share.mean == pytest.approx(0.4)
    assert uniform.over_seeds == pytest.approx(t_interval(shares))
    assert uniform.over_examples == wilson(80, N)  # of one test set, however many networks were asked
    assert arms["uniform"].gap is None
    assert arms["plb"].gap is not None
    assert arms["plb"].gap.points == pytest.approx(-10)
    assert arms["plb"].attacks["fgsm"].share.mean == pytest.approx(0.35)


def test_no_interval_of_a_share_passes_its_bounds(tmp_path: Path) -> None:
    """Two seeds of five stand at all, and clean accuracy is 1 but for one: Student's would end below 0 and above 1."""

    def plant(sampler: str, seed: int) -> list[dict[str, Any]]:
        worst = 40 * (seed > 2)
        return [planted(sampler, seed, standing="1" * worst + "0" * (N - worst), clean=N - 10 * (seed == 0))]

    summary, finished = read(study(tmp_path / "fake", plant))
    (found,) = robustness(summary, finished)
    worst, clean = found.arms[0].worst.over_seeds, found.arms[0].clean.over_seeds
    assert worst is not None
    assert clean is not None
    assert (worst.low, clean.high) == (0.0, 1.0)
    assert worst.high == pytest.approx(t_interval([0.0, 0.0, 0.0, 0.2, 0.2])[1])  # pyright: ignore[reportOptionalSubscript]


def test_the_front_holds_whom_nobody_beats_in_both(folder: Path) -> None:
    """plb is faster than uniform and less robust, lb slower and more robust."""
    summary, finished = read(folder)
    points = {point.sampler: point for point in plane(robustness(summary, finished)[0], summary)["clean"]}
    assert {name for name, point in points.items() if point.front} == {"uniform", "plb", "lb"}
    assert points["plb"].speed > 1.5 > points["uniform"].speed == 1 > points["lb"].speed
    assert points["plb"].speed_ends is not None


def test_a_beaten_sampler_is_off_the_front(tmp_path: Path) -> None:
    def plant(sampler: str, seed: int) -> list[dict[str, Any]]:
        return [planted("lb" if sampler == "plb" else "plb" if sampler == "lb" else sampler, seed)]

    summary, finished = read(study(tmp_path / "fake", plant))
    points = {point.sampler: point for point in plane(robustness(summary, finished)[0], summary)["clean"]}
    assert {name for name, point in points.items() if point.front} == {"plb"}


def test_the_report_prints_what_was_planted(folder: Path) -> None:
    text = write_report(folder).read_text()
    part = text[text.index("## Under attack") : text.index("## What was drawn")]
    assert "**eps 8/255, L-infinity, 200 evenly spaced of the 360 test examples (rows abc)**" in part
    row = next(line for line in part.splitlines() if line.startswith("| clean | uniform"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:6] == ["90.00 ± 0.00", "45.00 ± 1.58", "40.00 ± 1.58", "**40.00 ± 1.58**"]
    assert cells[6] == "33.5 to 46.9 %"
    assert cells[8] == "baseline"
    assert "figures/robust-plane-1.png" in part
    assert (folder / "figures" / "robust-plane-1.svg").exists()
    assert "**Pareto front**" in text
    page = (folder / "report.html").read_text()
    assert "<strong>40.00 ± 1.58</strong>" in page
    assert write_report(folder).read_text() == text
    assert (folder / "report.html").read_text() == page


def test_a_study_without_it_has_no_word_of_it(tmp_path: Path) -> None:
    fake_study(tmp_path / "fake", arms=(UNIFORM, TWICE))
    summary, finished = read(tmp_path / "fake")
    assert section(summary, finished) is None
    found, runs = read_study(tmp_path / "fake")
    text = render(context(found, runs, summarise(found, runs)))
    assert "obust" not in text.replace("robuststream", "")
    assert "Pareto" not in text


def test_what_a_scenario_costs(tmp_path: Path) -> None:
    """Three forwards of which two with gradient: 3 * 1 + 2 more passes of the attack, each a forward and a backward."""
    changes = {"totals.forwards.perturb": 20_000, "totals.forwards.train": 10_000, "totals.flops": 10_000 * 9e6}
    fake_study(tmp_path / "fake", arms=(UNIFORM, TWICE), worlds=(World("pgd", "pgd"),), changes=changes)
    summary, finished = read(tmp_path / "fake")
    (price,) = prices(summary, finished)
    assert (price.scenario, price.sampler) == ("pgd", "uniform")
    assert (price.per_example, price.perturb) == (pytest.approx(3.0), pytest.approx(2.0))
    told = section(summary, finished)
    assert told is not None
    assert told["targets"] == []
    assert "| pgd | uniform | 3.00× | 2.00 |" in told["prices"]


def test_warnings_become_flags_beside_the_number(tmp_path: Path) -> None:
    def plant(sampler: str, seed: int) -> list[dict[str, Any]]:
        doubtful = sampler == "plb" and seed < 2
        return [planted(sampler, seed, flags=[{"kind": "zero-gradients", "detail": "at 3 | 9 images"}] if doubtful else [])]

    folder = study(tmp_path / "fake", plant)
    found, runs = read_study(folder)
    text = render(context(found, runs, summarise(found, runs)))
    number = next(line for line in text.splitlines() if "zero gradients" in line)
    assert "in 2 runs: gradients vanish" in number
    assert "3 &#124; 9" in number
    mark = number.split("**")[0].split("⚑")[1].strip()
    rows = [line for line in text[text.index("## Under attack") :].splitlines() if line.startswith("| clean | ")]
    assert [f"⚑{mark}" in row for row in rows[:3]] == [False, True, False]


def test_runs_with_other_attacks_are_counted_apart(tmp_path: Path) -> None:
    """One of five runs of plb was attacked further: its worst case does not enter a gap to runs that were not."""

    def plant(sampler: str, seed: int) -> list[dict[str, Any]]:
        found = planted(sampler, seed)
        if sampler == "plb" and seed == 0:
            found |= {"attacks": {**found["attacks"], "autoattack": 1}, "standing": "1" + "0" * (N - 1)}
        return [found, planted(sampler, seed, eps=0.1)] if seed == 1 else [found]

    folder = study(tmp_path / "fake", plant)
    first, second = robustness(*read(folder))
    assert (first.target.eps, second.target.eps) == (8 / 255, 0.1)
    plb = next(arm for arm in first.arms if arm.sampler == "plb")
    assert plb.attacks["autoattack"].share.n == 1
    assert plb.gap is not None
    assert (plb.gap.pairs, plb.gap.points) == (4, pytest.approx(-10))
    told = section(*read(folder))
    assert told is not None
    assert "0.50 (of 1 runs)" in told["targets"][0]["table"]


def test_rows_of_an_export_have_the_shares(folder: Path) -> None:
    text = export(folder, "csv")
    assert text is not None
    row = next(row for row in csv.DictReader(io.StringIO(text)) if (row["sampler"], row["seed"]) == ("uniform", "2"))
    assert float(row["robust.eps0.03137.worst"]) == float(row["robust.eps0.03137.pgd"]) == 0.4
    assert float(row["robust.eps0.03137.clean"]) == 0.9
    assert not any("standing" in value for value in row.values())


def test_merge_keeps_the_networks(folder: Path, tmp_path: Path) -> None:
    for part in ("a", "b"):
        study(tmp_path / part, lambda sampler, seed: [planted(sampler, seed)], seeds=2)
    kept = next(iter((tmp_path / "b" / "runs").iterdir()))
    (kept / "network.pt").write_bytes(b"weights")
    merge(tmp_path / "whole", [tmp_path / "a", tmp_path / "b"])
    assert (tmp_path / "whole" / "runs" / kept.name / "network.pt").read_bytes() == b"weights"
