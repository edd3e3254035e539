"""Reports of synthetic studies: what was planted is printed, nothing foreign breaks a table, and the same bytes come again."""

from __future__ import annotations

import dataclasses
import gzip
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from _fake_study import HALF, NEVER, TWICE, UNIFORM, Arm, World, fake_runs, fake_study
from robuststream import records, registry
from robuststream.errors import UserError
from robuststream.evidence.intervals import Interval
from robuststream.evidence.speedup import Reach
from robuststream.evidence.summary import summarise
from robuststream.records import read_study
from robuststream.reporting import markdown
from robuststream.reporting.curves import curve
from robuststream.reporting.report import context, render, write_report
from robuststream.reporting.style import BASELINE, PALETTE, STROKES, Who, _reserved, looks
from robuststream.reporting.terminal import summary_table

NOISY = World("symmetric-40", "label-noise", wrong=0.4, figures={"accuracy under PGD-20": 0.25})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole study of 40 runs with its report."""
    study = fake_study(tmp_path_factory.mktemp("whole") / "fake", worlds=(World(), NOISY))
    write_report(study)
    return study


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.md").read_text()


def report_of(folder: Path) -> str:
    """The text alone: figures take most of the time of a report."""
    study, runs = read_study(folder)
    return render(context(study, runs, summarise(study, runs)))


def rows_of(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading."""
    lines = text[text.index(heading) :].splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_the_first_table_says_what_was_planted(text: str) -> None:
    rows = {row[0]: row[1:] for row in rows_of(text, "### clean")}
    assert rows["uniform"] == ["5", "89.00 ± 0.63", "baseline", "1", "5 of 5 (57–100 %)"]
    assert rows["plb"][:3] == ["5", "91.00 ± 0.63", "+2.00 [+2.00, +2.00]"]
    assert float(rows["plb"][3].split("×")[0]) == pytest.approx(2.0, abs=0.15)
    assert rows["owc"][3:] == ["–", "0 of 5 (0–43 %)"]


def test_the_first_screen_is_verdict_then_one_table_then_one_figure(text: str) -> None:
    places = [text.index(mark) for mark in ("## Verdict", "\n| ", "\n![", "## By scenario")]
    assert places == sorted(places)
    assert text[: places[3]].count("\n![") == 1
    assert len(re.findall(r"(?:^\|.*\n)+", text[: places[3]], flags=re.MULTILINE)) == 1


def test_verdicts_are_derived(text: str) -> None:
    verdict = text[text.index("## Verdict") : text.index("### clean")]
    assert "**No sampler may be claimed to reach 95 % of uniform's gain with less compute than uniform.**" in verdict
    assert "**Reported, not claimed, to be ahead in compute**: plb 2.09× [1.94, 2.25] in clean" in verdict
    assert "- Most runs did not get to 95 % of uniform's gain: lb and owc everywhere." in verdict
    assert "above uniform: plb everywhere; below: lb and owc everywhere." in verdict
    assert "5 seeds: reported, not claimed" in verdict


def test_everything_a_reviewer_asks_for_is_there(text: str) -> None:
    for section in ("Verdict", "Speed-ups in full", "Accuracy", "What was drawn", "What it cost", "Label noise as realised"):
        assert f"## {section}" in text
    for section in ("Settings", "Provenance", "Words", "How to rebuild"):
        assert f"## {section}" in text
    assert "| symmetric-40 | plb | 0.60 | 24.0 % |" in text  # enrichment, wrong drawn
    assert "| accuracy under PGD-20 | 25.00 ± 0.00 |" in text  # the scenario's own figure
    assert "<details><summary>symmetric-40, seed 0" in text
    assert "| **3** | 4 | 4 | 4 | 60 |" in text  # the matrix
    assert "| budget.amount | 10.0 |" in text
    assert "| plb | plb | warmup&#95;epochs" not in text  # an underscore within a word needs no escape
    assert "| plb | plb | warmup_epochs = 1.0 |" in text
    assert "| torch | 2.11.0 |" in text


def test_every_table_has_as_many_cells_in_every_row(text: str) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) > 10
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_every_figure_named_exists_and_the_other_way_round(folder: Path, text: str) -> None:
    named = set(re.findall(r"figures/([^)]+)\)", text))
    assert named == {path.name for path in (folder / "figures").iterdir()}
    assert {"accuracy.png", "accuracy.svg", "enrichment.png", "concordance.svg", "histograms-1-clean.png"} <= named


def test_the_same_records_give_the_same_bytes_also_from_the_archive(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "runs")
    for path in (copy / "figures").iterdir():
        path.unlink()
    write_report(copy)
    for path in (folder / "report.md", folder / "report.html", folder / records.ARCHIVE, *(folder / "figures").iterdir()):
        assert (copy / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_figures_of_a_large_study_stay_small_and_keep_every_colour(tmp_path: Path) -> None:
    arms = (UNIFORM, TWICE, HALF, NEVER, *(Arm(f"arm-{i}", "x", speed=0.7 + 0.1 * i, stores=True) for i in range(4)))
    worlds = (World(), NOISY, World("pair-45", "label-noise", 0.45))
    study = fake_study(tmp_path / "large", arms, worlds)
    write_report(study)
    pixels = np.asarray(Image.open(study / "figures" / "accuracy.png").convert("RGB"), dtype=int).reshape(-1, 3)
    for label, look in looks([Who(arm.label, arm.kind) for arm in arms], "uniform").items():
        color = [int(look.color[place : place + 2], 16) for place in (1, 3, 5)]
        assert (abs(pixels - color).max(1) < 15).any(), f"{label}'s line has lost its colour"
    assert len(gzip.decompress((study / records.ARCHIVE).read_bytes()).splitlines()) == 120
    assert sum(path.stat().st_size for path in (study / "figures").iterdir()) < 800_000
    assert (study / "report.md").stat().st_size < 60_000
    assert (study / "report.html").stat().st_size < 350_000


def test_a_partly_finished_study_says_so(tmp_path: Path) -> None:
    text = report_of(fake_study(tmp_path / "partly", (UNIFORM, TWICE), seeds=5, skip=4))
    assert "6 of 10 runs have finished" in text
    assert "⚑1 **runs missing:** 4 of 10 runs have not finished" in text
    assert "3 seeds: indicative only" in text
    assert rows_of(text, "### clean")[2][:2] == ["uniform", "3 of 5"]
    assert "[" not in rows_of(text, "### clean")[3][3]  # no interval from three pairs


def test_a_study_without_a_finished_run_is_a_short_report(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "none", (UNIFORM, TWICE), seeds=2, skip=4)
    text = write_report(study).read_text()
    assert "0 of 4 runs have finished" in text
    assert "No run of this study has finished yet" in text
    assert "## Verdict" not in text
    assert "| plb | plb | warmup_epochs = 1.0 |" in text
    assert not (study / "figures").exists()


def test_an_arm_without_a_finished_run_keeps_its_row(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "lone", (UNIFORM, TWICE), seeds=1, skip=1)
    assert rows_of(report_of(study), "### clean")[3] == ["plb", "0 of 1", "–", "–", "–", "–"]


def test_without_uniform_there_are_tables_but_no_speed_ups(tmp_path: Path) -> None:
    text = report_of(fake_study(tmp_path / "no-base", (TWICE, HALF)))
    assert "This study has no sampler of kind `uniform`" in text
    assert "None: this study has no sampler of kind uniform" in text
    assert rows_of(text, "### clean")[2] == ["plb", "5", "91.00 ± 0.63", "–", "–", "–"]
    assert "The dashed line is T95" not in text


def test_a_study_of_uniform_alone_has_nothing_to_compare(tmp_path: Path) -> None:
    text = report_of(fake_study(tmp_path / "alone", (UNIFORM,), (World(), NOISY)))
    assert "No other sampler has a finished run yet" in text
    assert rows_of(text, "### clean")[2][0] == "uniform"


def test_a_scenarios_own_figures_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    """Fourteen corruptions would be fourteen more columns; shares are told in per cent as the caption says."""
    figures = {"corrupted": 0.9085, "fog": 0.25, "dB": 31.5}
    folder = fake_study(tmp_path / "fake", (UNIFORM, TWICE), (World(figures=figures),), seeds=2)
    study, runs = read_study(folder)
    text = render(context(study, runs, summarise(study, runs)))
    assert "| figure | uniform | plb |" in text
    assert "| corrupted | 90.85 ± 0.00 | 90.85 ± 0.00 |" in text
    assert "| fog | 25.00 ± 0.00 |" in text
    assert "| dB | 31.5 ± 0 |" in text
    assert "| gap, points | p |\n" in text


def test_scenarios_of_different_sizes_are_told_as_a_range(tmp_path: Path) -> None:
    """A long tail has a smaller pool, and with it a smaller budget in epochs."""
    folder = fake_study(tmp_path / "fake", (UNIFORM, TWICE), (World(), World("long-tail", "long-tail")), seeds=2)
    for path in folder.glob("runs/*/result.json"):
        if "long-tail" in path.parent.name:
            result = json.loads(path.read_text())
            result["data"]["train"] = 300
            result["totals"]["budget_flops"] /= 4
            path.write_text(json.dumps(result))
    study, runs = read_study(folder)
    told = context(study, runs, summarise(study, runs))["asked"]
    assert "the compute of 10 epochs of uniform shuffling (7.5e9 to 3.0e10 FLOPs)" in told
    assert "only the 300 to 1000 for training" in told


def test_figures_that_an_earlier_report_had_are_removed(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "stale", (UNIFORM,), seeds=1)
    (study / "figures").mkdir()
    (study / "figures" / "histograms-9-gone.svg").write_text("")
    write_report(study)
    assert {path.stem for path in (study / "figures").iterdir()} == {"accuracy", "accuracy-close"}


def test_a_target_that_uniform_misses_is_not_blamed_on_the_arm(tmp_path: Path) -> None:
    """With two evaluations and a curve that rises to the end, uniform never confirms T95."""
    rising = dataclasses.replace(UNIFORM, speed=0.5)
    text = report_of(fake_study(tmp_path / "rising", (rising, TWICE), evaluations=4))
    assert "**Nothing can be said of speed:** most of uniform's own runs did not reach 95 % of uniform's gain" in text
    assert "did not get there (" not in text
    assert "uniform seldom got there (5 of 5)" in text


def test_flags_stand_beside_the_numbers_they_cast_doubt_on(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "flagged", (UNIFORM, TWICE), changes={"seconds.phases.fetch": 9.0, "diverged": True})
    text = report_of(study)
    assert "- ⚑1 **diverged** (uniform, clean; plb, clean): 10 runs diverged" in text
    assert "- ⚑2 **data-bound** (uniform, clean; plb, clean): up to" in text
    main = rows_of(text, "### clean")[3]
    assert main[1:3] == ["5 (5 diverged)", "91.00 ± 0.63 ⚑1"]
    assert main[4].endswith("]")  # data-bound casts no doubt on FLOPs
    speed = rows_of(text, "## Speed-ups in full\n\nThe targets")  # the ladder comes first
    assert speed[0][0] == "scenario"
    full = next(line for line in text.splitlines() if line.startswith("| plb | T95 |"))
    assert full.split("|")[6].strip().endswith("⚑2")  # the column of seconds


@pytest.mark.parametrize("nasty", ["a|b", "<img src=x>", "[x](y)", "`code`", "two\nlines", "$x^2$", "**bold**", "_under_", "C&A"])
def test_foreign_names_cannot_break_a_table(nasty: str, tmp_path: Path) -> None:
    arm = dataclasses.replace(TWICE, label=nasty, settings={nasty: nasty})
    world = dataclasses.replace(NOISY, label=nasty, figures={nasty: 1.0})
    text = report_of(fake_study(tmp_path / "nasty", (UNIFORM, arm), (world,), seeds=2))
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert nasty not in text


def test_foreign_names_cannot_break_a_figure(tmp_path: Path) -> None:
    """Labels that are no file names, that differ by such signs only, or that would be mathematics or a hidden label."""
    arm = dataclasses.replace(TWICE, label="_$\\frac{<&")
    worlds = (dataclasses.replace(NOISY, label="a/b"), dataclasses.replace(NOISY, label="a:b"))
    study = fake_study(tmp_path / "nasty", (UNIFORM, arm), worlds, seeds=2)
    write_report(study)
    assert {"histograms-1-a-b.png", "histograms-2-a-b.png"} <= {path.name for path in (study / "figures").iterdir()}
    assert "_$\\frac{&lt;&amp;" in (study / "figures" / "accuracy.svg").read_text()


def test_escaped_text_reads_as_it_was() -> None:
    assert html.unescape(markdown.escape("a|b <c> `d` [e] *f* _g_ h_i $j ~k \\l")) == "a|b <c> `d` [e] *f* _g_ h_i $j ~k \\l"


def test_ten_seeds_carry_a_claim_with_its_p(tmp_path: Path) -> None:
    text = report_of(fake_study(tmp_path / "ten", (UNIFORM, TWICE), seeds=10))
    assert "10 seeds: enough for a claim" in text
    assert re.search(r"2\.\d\d× as fast \[.*\] \(p \.002\)", text)
    assert "+2.00 [+2.00, +2.00] points (p .002)" in text


def test_many_classes_show_flows_instead_of_a_matrix(tmp_path: Path) -> None:
    matrix = [[10 if a == b else 3 * (b == (a + 1) % 30) for b in range(30)] for a in range(30)]
    changes = {"data.num_classes": 30, "labels.matrix": matrix, "labels.per_class": [3 / 13] * 30}
    text = report_of(fake_study(tmp_path / "flows", (UNIFORM,), (NOISY,), seeds=1, changes=changes))
    assert "| clean class | observed class | examples | wrong in the clean class |" in text
    assert "| 0 | 1 | 3 | 23.1 % |" in text


def test_no_study_and_other_rules_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a study's folder"):
        write_report(tmp_path)
    study = fake_study(tmp_path / "old", (UNIFORM,), seeds=1)
    written = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(written | {"rules": "0.9"}))
    with pytest.raises(UserError, match=r"do not mix") as refusal:
        write_report(study)
    assert "\n" not in str(refusal.value)
    assert not (study / "report.md").exists()


def test_numbers_are_printed_one_way() -> None:
    assert [markdown.quantity(value) for value in (0, 0.4846, 49.94, 9677.4, 10_000, 3e10, None)] == [
        *("0", "0.485", "49.9", "9 677", "10 000", "3.0e10", "–"),
    ]
    assert [markdown.p_value(p) for p in (None, 0.0001, 0.0625, 1.0)] == ["–", "< .001", ".062", "1"]
    assert markdown.reached(Reach(4, 5, Interval(0.3755, 0.9638))) == "4 of 5 (38–96 %)"
    assert markdown.reached(Reach(3, 3, Interval(0.4385, 1.0))) == "3 of 3"


def test_a_sampler_keeps_its_colour_and_the_baseline_is_black() -> None:
    uniform, many = Who("uniform", "uniform"), [Who(f"s{i}", f"s{i}") for i in range(20)]
    found = looks([uniform, *many], "uniform")
    assert found["uniform"].color == BASELINE
    assert len(set(found.values())) == 21
    assert looks([uniform, *many[:3]], "uniform") == {key: found[key] for key in ("uniform", "s0", "s1", "s2")}


def test_a_sampler_of_ours_looks_the_same_in_every_study_whatever_stands_beside_it() -> None:
    names = [name for name in registry.names("samplers") if name != "uniform"]
    league = [Who(name, name) for name in names] + [Who(f"{name}-placebo", name, True) for name in names]
    whole = looks([Who("uniform", "uniform"), *league], "uniform")
    assert len(set(whole.values())) == len(league) + 1
    for name in names:
        alone = looks([Who("theirs", "theirs.py:Theirs"), Who("mine", name), Who("uniform", "uniform")], "uniform")
        assert alone["mine"] == whole[name]
        assert alone["theirs"] != alone["mine"]
        assert whole[f"{name}-placebo"].color == whole[name].color
    twice = looks([Who("a", "plb"), Who("b", "plb")], None)
    assert twice["a"] != twice["b"]


def test_every_sampler_of_ours_has_a_place_in_the_list_of_looks() -> None:
    assert set(registry.names("samplers")) - {"uniform"} <= set(_reserved())
    assert len(set(_reserved())) == len(_reserved()) <= len(PALETTE) * len(STROKES)


SEEN = {
    "everybody": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""What is left of linear RGB [Machado, Oliveira and Fernandes, 2009, severity 1]."""


def closest(colors: tuple[str, ...], who: str) -> float:
    """The smallest distance of two colours as somebody sees them: CIE 1976, where 2.3 is just noticeable side by side."""
    rgb = np.array([[int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN[who]), 0, 1)
    xyz = seen @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(apart[~np.eye(len(colors), dtype=bool)].min())


@pytest.mark.parametrize("who", SEEN)
def test_colours_are_told_apart_whatever_somebody_sees(who: str) -> None:
    assert closest((*PALETTE, BASELINE), who) > 12
    assert closest(("#d62728", "#2ca02c"), "deuteranopia") < 8, "the usual red and green would not pass"


def test_a_band_is_the_range_below_five_runs_and_an_interval_above() -> None:
    few, enough = (curve(fake_runs((UNIFORM,), seeds=seeds), "validation_accuracy") for seeds in (3, 5))
    assert few is not None
    assert enough is not None
    assert few.x[-1] == pytest.approx(10.0)  # uniform epochs
    assert (few.low[-1], few.high[-1]) == (pytest.approx(0.892), pytest.approx(0.9))
    assert enough.high[-1] - enough.mean[-1] == pytest.approx(2.776 * 0.00632 / 5**0.5, rel=1e-2)
    assert curve(fake_runs((UNIFORM,)), "concordance") is None


def test_the_terminal_table_shows_labels_as_they_are(folder: Path) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary_table(summarise(*read_study(folder))))
    shown = console.export_text()
    assert re.search(r"symmetric-40 +│ uniform +│ +89.00 ± 0.63 │ +baseline │ +1 │ +5 of 5", shown)
    bold = dataclasses.replace(TWICE, label="[bold]x[/]")
    study = read_study(folder)[0] | {"samplers": [{"label": bold.label, "kind": "plb", "given": {}}], "runs": []}
    console.print(summary_table(summarise(study, fake_runs((bold,)))))
    assert "[bold]x[/]" in console.export_text()


def test_a_report_needs_no_torch_and_a_refusal_no_matplotlib(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import robuststream.reporting.report as report, robuststream.reporting.terminal
print([m for m in ("torch", "sklearn", "matplotlib") if m in sys.modules])
report.write_report(Path({str(folder)!r}))
print([m for m in ("torch", "sklearn", "matplotlib.pyplot") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_the_users_own_matplotlib_settings_are_neither_used_nor_changed(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with matplotlib.rc_context({"lines.linewidth": 9.0, "savefig.dpi": 30}):
        write_report(copy)
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
    assert (copy / "figures" / "accuracy.png").read_bytes() == (folder / "figures" / "accuracy.png").read_bytes()
