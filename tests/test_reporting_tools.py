"""export, compare, merge and watch on synthetic studies: what was planted comes out, and what does not fit is refused."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from _commands import Here
from _fake_study import HALF, NEVER, TWICE, UNIFORM, World, fake_runs, fake_study, write_run
from robuststream import records
from robuststream.errors import UserError
from robuststream.records import read_study
from robuststream.reporting.comparison import compare_samplers, compare_studies
from robuststream.reporting.export import export, tex
from robuststream.reporting.merge import merge
from robuststream.reporting.report import REPORT, write_report
from robuststream.reporting.watch import watch

WORLDS = (World(), World("noisy", "label-noise", wrong=0.4, figures={"accuracy under PGD-20": 0.25}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_study(tmp_path_factory.mktemp("tools") / "fake", (UNIFORM, TWICE, NEVER), WORLDS)


def change(folder: Path, **settings: Any) -> Path:
    """The study with other settings of its own."""
    written = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(written | settings))
    return folder


# Export


def test_csv_has_a_row_per_run_with_its_costs(folder: Path) -> None:
    text = export(folder, "csv")
    assert text == export(folder, "csv")
    rows = list(csv.DictReader(io.StringIO(text or "")))
    assert len(rows) == 30
    plb = next(row for row in rows if (row["sampler"], row["scenario"], row["seed"]) == ("plb", "noisy", "3"))
    assert plb["sampler.warmup_epochs"] == "1.0"
    assert float(plb["last.test_accuracy"]) == pytest.approx(0.914)
    assert 0 < float(plb["cost.T95.spent"]) < 0.5
    assert next(row for row in rows if row["sampler"] == "owc")["cost.T95.flops"] == ""  # missed
    assert plb["figure.accuracy under PGD-20"] == "0.25"
    assert (plb["scenario"], plb["scenario.rate"], plb["counters.presented"]) == ("noisy", "0.4", "9677")
    assert {row["scenario"] for row in rows} == {"clean", "noisy"}
    assert not {"labels.matrix", "scenario.accuracy under PGD-20"} & set(rows[0])


def test_parquet_holds_what_csv_holds(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (the extra 'parquet')")
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    assert export(folder, "parquet", first) is None
    export(folder, "parquet", second)
    assert first.read_bytes() == second.read_bytes()
    table = parquet.read_table(first)
    rows = list(csv.DictReader(io.StringIO(export(folder, "csv") or "")))
    assert table.column_names == list(rows[0])
    assert table.column("seed").to_pylist() == [int(row["seed"]) for row in rows]


def test_json_is_everything_and_strict(folder: Path, tmp_path: Path) -> None:
    found = json.loads(export(folder, "json") or "", parse_constant=lambda name: pytest.fail(name))
    assert found["study"]["name"] == "fake"
    assert len(found["runs"]) == 30
    assert len(found["runs"][0]["evaluations"]) == 21
    lost = fake_study(
        tmp_path / "nan", (UNIFORM,), seeds=1, changes={"last.test_accuracy": float("nan"), "seconds.compile": float("inf")}
    )
    found = json.loads(export(lost, "json") or "", parse_constant=lambda name: pytest.fail(name))
    assert found["runs"][0]["result"]["last"]["test_accuracy"] is None
    assert found["runs"][0]["result"]["seconds"]["compile"] is None


def test_latex_is_a_table_and_escapes_names(folder: Path, tmp_path: Path) -> None:
    text = export(folder, "latex") or ""
    assert re.search(r"plb & 91\.00 \$\\pm\$ 0\.63 & \+2\.00 \[\+2\.00, \+2\.00\] & 2\.09\$\\times\$ \[.*\] & 5/5 & ", text)
    rows = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert tex("a_b & 50% {x} \\y") == r"a\_b \& 50\% \{x\} \textbackslash{}y"
    nasty = fake_study(tmp_path / "nasty", (UNIFORM, dataclasses.replace(TWICE, label="50%_&")), seeds=1)
    assert r"50\%\_\&" in (export(nasty, "latex") or "")


def test_export_refuses_in_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown format 'cvs'; did you mean 'csv'\?"):
        export(folder, "cvs")
    with pytest.raises(UserError, match="--out"):
        export(folder, "parquet")
    with pytest.raises(UserError, match="cannot be written"):
        export(folder, "csv", tmp_path / "none" / "x.csv")
    with pytest.raises(UserError, match="nothing to export"):
        export(fake_study(tmp_path / "empty", (UNIFORM,), seeds=1, skip=1), "csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=re.escape("pip install 'robuststream[parquet]'")):
        export(folder, "parquet", tmp_path / "x.parquet")


# Compare


def table_of(text: str, heading: str) -> list[list[str]]:
    lines = text[text.index(heading) :].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_two_samplers_are_compared_in_every_scenario(folder: Path) -> None:
    text = compare_samplers(folder, "uniform", "plb")
    assert ["kind", "uniform", "plb"] in table_of(text[: text.index("outcome")], "## What differs in settings")
    rows = table_of(text, "## What differs in outcome")
    assert [row[0] for row in rows[2:]] == ["clean", "noisy"]
    assert rows[2][2:6] == ["89.00 ± 0.63", "91.00 ± 0.63", "+2.00 [+2.00, +2.00]", ".125"]  # .0625 for two rows
    assert rows[2][6].startswith("2.09×")
    back = table_of(compare_samplers(folder, "plb", "uniform"), "## What differs in outcome")
    assert back[2][4] == "-2.00 [-2.00, -2.00]"
    assert back[2][6].startswith("0.48×")
    assert "⚑" not in text


def test_two_studies_are_compared_cell_by_cell(folder: Path, tmp_path: Path) -> None:
    slower = dataclasses.replace(TWICE, speed=1.0, settings={"warmup_epochs": 4.0})
    other = fake_study(tmp_path / "other", (UNIFORM, slower, HALF), WORLDS)
    text = compare_studies(folder, other)
    assert ["sampler plb: warmup_epochs", "1.0", "4.0"] in table_of(text[: text.index("outcome")], "## What differs in settings")
    rows = {(row[0], row[1]): row[2:] for row in table_of(text, "## What differs in outcome")[2:]}
    assert set(rows) == {("clean", "uniform"), ("clean", "plb"), ("noisy", "uniform"), ("noisy", "plb")}
    assert rows["clean", "plb"][4] == "0.51× [0.49, 0.52]"  # half, and the grain of 20 evaluations
    assert rows["clean", "uniform"][4].startswith("1.00×")
    assert compare_studies(folder, folder).startswith("## What differs in settings\n\nNo setting differs.")


def test_pairs_that_are_none_are_flagged(folder: Path, tmp_path: Path) -> None:
    other = fake_study(tmp_path / "other", (UNIFORM,), (World(),), changes={"labels.hash": "another"})
    assert "⚑ In 5 pairs the two sides did not learn from the same data and labels" in compare_studies(folder, other)


def test_compare_refuses_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sampler 'plp'; did you mean 'plb'\?"):
        compare_samplers(folder, "uniform", "plp")
    with pytest.raises(UserError, match="nothing can be compared"):
        compare_studies(folder, fake_study(tmp_path / "apart", (HALF,), (World("elsewhere"),), seeds=1))
    with pytest.raises(UserError, match="not a study's folder"):
        compare_studies(folder, tmp_path)


# Merge


def part(path: Path, seeds: list[int], arms: tuple[Any, ...] = (UNIFORM, TWICE)) -> Path:
    """One machine's share of a study of six seeds."""
    runs = [run for run in fake_runs(arms, WORLDS, 6) if run.seed in seeds]
    fake_study(path, arms, WORLDS, 1)
    shutil.rmtree(path / "runs")
    for run in runs:
        write_run(path, run)
    return change(path, seeds=seeds, runs=[records.run_name(run.settings) for run in runs])


def test_parts_make_the_whole(tmp_path: Path) -> None:
    a, b = part(tmp_path / "a", [0, 1, 2]), part(tmp_path / "b", [2, 3, 4, 5])
    assert merge(tmp_path / "whole", [a, b]) == (24, 24)
    study, runs = read_study(tmp_path / "whole")
    assert study["seeds"] == [0, 1, 2, 3, 4, 5]
    assert runs == [*read_study(a)[1], *read_study(b)[1][4:]]
    assert merge(tmp_path / "again", [a, b]) == (24, 24)
    for path in sorted((tmp_path / "whole").rglob("*.json*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_parts_may_have_other_samplers_and_archives_alone(tmp_path: Path) -> None:
    a, b = part(tmp_path / "a", [0, 1], (UNIFORM, TWICE)), part(tmp_path / "b", [0, 1], (UNIFORM, HALF))
    records.write_archive(b, read_study(b)[1])
    shutil.rmtree(b / "runs")
    assert merge(tmp_path / "whole", [a, b]) == (12, 12)
    assert [entry["label"] for entry in read_study(tmp_path / "whole")[0]["samplers"]] == ["uniform", "plb", "lb"]


def test_unfinished_runs_are_planned_but_not_copied(tmp_path: Path) -> None:
    a, b = part(tmp_path / "a", [0]), part(tmp_path / "b", [1])
    next((b / "runs").glob("*/result.json")).unlink()
    assert merge(tmp_path / "whole", [a, b]) == (7, 8)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda b: change(b, rules="0.9"), "do not mix"),
        (lambda b: change(b, name="another"), "name is 'another' there and 'fake' here"),
        (lambda b: change(b, recipe=json.loads((b / "study.json").read_text())["recipe"] | {"lr": 9}), "recipe.lr is 9 there"),
        (lambda b: change(b, samplers=[{"label": "plb", "kind": "plb", "given": {"x": 1}}]), "sampler 'plb' has other settings"),
        (lambda b: spoil_result(b), "with another result"),
        (lambda b: spoil_settings(b), "has other settings than another part's"),
        (lambda b: shutil.rmtree(b), "not a study's folder"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(spoil: Any, why: str, tmp_path: Path) -> None:
    a, b = part(tmp_path / "a", [0, 1]), part(tmp_path / "b", [1, 2])
    spoil(b)
    with pytest.raises(UserError, match=re.escape(why)) as refusal:
        merge(tmp_path / "whole", [a, b])
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "whole").exists()


def spoil_result(folder: Path) -> None:
    path = next((folder / "runs").glob("plb--clean--seed1--*/result.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"diverged": True}))


def spoil_settings(folder: Path) -> None:
    """The same sampler, scenario and seed on another device: another run under the same labels."""
    old = next((folder / "runs").glob("plb--clean--seed1--*"))
    settings = json.loads((old / "settings.json").read_text()) | {"device": "cuda"}
    new = old.with_name(records.run_name(settings))
    old.rename(new)
    (new / "settings.json").write_text(json.dumps(settings))
    written = json.loads((folder / "study.json").read_text())
    change(folder, runs=[new.name if name == old.name else name for name in written["runs"]])


def test_a_run_that_two_machines_finished_alike_is_taken_from_the_first(tmp_path: Path) -> None:
    """No two machines take the same time: that alone is no other result."""
    a, b = part(tmp_path / "a", [0, 1]), part(tmp_path / "b", [1, 2])
    path = next((b / "runs").glob("plb--clean--seed1--*/result.json"))
    result = json.loads(path.read_text())
    later = {"seconds": result["seconds"] | {"train": 99.0}, "provenance": result["provenance"] | {"started": "later"}}
    path.write_text(json.dumps(result | later))
    assert merge(tmp_path / "whole", [a, b]) == (12, 12)
    assert (tmp_path / "whole" / path.relative_to(b)).read_bytes() == records_of(a, path.parent.name)


def records_of(folder: Path, name: str) -> bytes:
    """A result as merge writes it."""
    result = json.loads((folder / "runs" / name / "result.json").read_text())
    return (json.dumps(result, indent=1) + "\n").encode()


def test_merge_needs_two_parts_and_an_empty_place(tmp_path: Path) -> None:
    a = part(tmp_path / "a", [0])
    with pytest.raises(UserError, match="at least two"):
        merge(tmp_path / "whole", [a])
    with pytest.raises(UserError, match="not an empty folder"):
        merge(a, [a, a])


# Watch, and figures as PDF


def test_watch_rebuilds_when_runs_finish_and_ends_with_the_study(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "running", (UNIFORM, TWICE), seeds=2, skip=2)
    missing = fake_runs((UNIFORM, TWICE), seeds=2)[2:]
    said: list[str] = []
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:  # the first look finds nothing new
            run = missing.pop(0)
            (study / "runs" / records.run_name(run.settings) / "result.json").write_text(json.dumps(run.result))

    watch(study, said.append, wait)
    assert [line.rpartition(": ")[2] for line in said] == ["2 of 4 runs", "3 of 4 runs", "4 of 4 runs"]
    assert len(waits) == 3
    assert "4 of 4 runs have finished" in (study / REPORT).read_text()


def test_watch_tells_of_runs_that_fail_too(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "running", (UNIFORM, TWICE), seeds=2, skip=2)
    late = study / "runs" / records.run_name(fake_runs((UNIFORM, TWICE), seeds=2)[3].settings)
    said: list[str] = []

    def wait(seconds: float) -> None:
        if len(said) > 1:
            raise KeyboardInterrupt
        records.note_failure(late, "its process died")

    watch(study, said.append, wait)
    assert [line.rpartition(": ")[2] for line in said[:2]] == ["2 of 4 runs", "2 of 4 runs, 1 failed"]
    assert "its process died" in (study / REPORT).read_text()


def test_watch_ends_quietly_on_an_interrupt(tmp_path: Path) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    said: list[str] = []
    watch(fake_study(tmp_path / "running", (UNIFORM,), seeds=2, skip=1), said.append, interrupt)
    assert said[-1].startswith("stopped watching")


def test_pdf_figures_come_on_demand_go_again_and_repeat_to_the_byte(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "pdf", (UNIFORM,), seeds=1)
    write_report(study, pdf=True)
    first = (study / "figures" / "accuracy.pdf").read_bytes()
    write_report(study, pdf=True)
    assert (study / "figures" / "accuracy.pdf").read_bytes() == first
    assert first.startswith(b"%PDF")
    assert b"CreationDate" not in first
    write_report(study)
    assert not list((study / "figures").glob("*.pdf"))


# The command line


def test_each_command_works_and_refuses_without_torch(folder: Path, here: Here, tmp_path: Path) -> None:
    assert here("export", str(folder)).stdout == export(folder, "csv")
    assert here("compare", str(folder), "uniform", "plb").stdout == compare_samplers(folder, "uniform", "plb")
    assert "30 of 30 runs" in here("merge", str(tmp_path / "whole"), str(folder), str(folder)).stdout
    for arguments in (("export", "nowhere"), ("compare", str(folder), "nowhere"), ("merge", "out", str(folder), "nowhere")):
        refused = here(*arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert refused.stderr.startswith("robuststream: ")
    assert here("report", str(tmp_path), "--watch").returncode == 2
    code = (
        "import sys; from robuststream.reporting import comparison, export, merge, page, watch; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("recipe", "budget"), None),
        (("recipe", "budget"), {"amount": 0}),
        (("sampler", "settings"), None),
        (("learner",), {"kind": 3}),
    ],
)
def test_settings_that_a_report_could_not_use_are_refused_when_read(place: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    folder = fake_study(tmp_path / "study", (UNIFORM,), (World(),), seeds=1)
    path = next(folder.glob("runs/*/settings.json"))
    settings = json.loads(path.read_text())
    inner = settings
    for key in place[:-1]:
        inner = inner[key]
    inner.pop(place[-1], None)
    if value is not None:
        inner[place[-1]] = value
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=rf"settings.json: {re.escape('.'.join(place))}.* cannot be right"):
        records.read_run(path.parent)
