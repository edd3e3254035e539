"""Tables by class and by kind of noise: what was planted is printed, and reports without such records stay as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from _fake_study import CLASSES, TWICE, UNIFORM, World, fake_study
from robuststream.errors import UserError
from robuststream.evidence.by_class import noise_kind
from robuststream.evidence.summary import summarise
from robuststream.records import read_study, run_name
from robuststream.reporting.classes import class_tables, noise_kind_table
from robuststream.reporting.report import context, render

CLEAN, NOISY, DRIFT = World(), World("symmetric-40", "label-noise", wrong=0.4), World("open-set-40", "open-set", wrong=0.4)
SHARES = [place / 10 for place in range(CLASSES)]


def study_of(folder: Path, worlds: tuple[World, ...] = (CLEAN, NOISY), **changes: Any) -> Path:
    return fake_study(folder / "fake", (UNIFORM, TWICE), worlds, seeds=2, changes=changes)


def report_of(folder: Path) -> str:
    study, runs = read_study(folder)
    return render(context(study, runs, summarise(study, runs)))


def test_the_noise_in_a_mixed_scenario_is_named() -> None:
    noise, attack = {"kind": "label-noise", "noise": "symmetric"}, {"kind": "adversarial-fgsm"}
    assert noise_kind({"kind": "mixed", "settings": {"parts": [noise, attack]}}) == "symmetric"
    assert noise_kind({"kind": "mixed", "settings": {"parts": [noise, {**noise, "noise": "margin"}]}}) == "symmetric + margin"
    assert noise_kind({"kind": "mixed", "settings": {"parts": [attack]}}) == "mixed"
    assert noise_kind({"kind": "open-set", "settings": {"rate": 0.4}}) == "open-set"


def test_reports_of_records_that_lack_them_have_no_such_tables(tmp_path: Path) -> None:
    text = report_of(study_of(tmp_path))
    assert "test accuracy by class" not in text
    assert "By kind of noise" not in text
    assert "| pool |" not in text


def test_accuracy_stands_under_its_class(tmp_path: Path) -> None:
    study = study_of(tmp_path, **{"last.test_per_class": [*SHARES[:-1], None]})
    text = report_of(study)
    assert "<details><summary>clean: test accuracy by class, per cent</summary>" in text
    clean, noisy = class_tables(read_study(study)[1])
    rows = clean.table.splitlines()
    assert rows[0] == "|  | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |"
    assert rows[2] == "| examples |" + " 100 |" * 10
    assert rows[3].startswith("| uniform | 0.0 ± 0.0 | 10.0 ± 0.0 | 20.0 ± 0.0 |")
    assert rows[4].endswith("| 80.0 ± 0.0 | – |")
    assert noisy.table.splitlines()[3] == "| wrong labels |" + " 40.0 % |" * 10


def test_many_classes_are_told_by_their_tenths(tmp_path: Path) -> None:
    many: dict[str, Any] = {
        "data.num_classes": 30,
        "last.test_per_class": [place / 30 for place in range(30)],
        "labels.matrix": [[10 * (a == b) for b in range(30)] for a in range(30)],
        "labels.per_class": [0.0] * 30,
    }
    (found,) = class_tables(read_study(study_of(tmp_path, (CLEAN,), **many))[1])
    assert found.table.splitlines()[2] == "| uniform | 3.3 % | 93.3 % | 0 (0.0 %), 1 (3.3 %), 2 (6.7 %) |"


def test_kinds_of_noise_stand_side_by_side(tmp_path: Path) -> None:
    study = study_of(tmp_path, (CLEAN, NOISY, DRIFT))
    rows = noise_kind_table(read_study(study)[1]).splitlines()
    assert rows[0] == "| noise | scenario | wrong | uniform | plb |"
    assert [row.split(" | ")[:3] for row in rows[2:]] == [
        ["| label-noise", "symmetric-40", "40.0 %"],
        ["| open-set", "open-set-40", "40.0 %"],
    ]
    assert rows[2].count(", 30 %") == 2
    assert "**By kind of noise**" in report_of(study)


def test_the_noises_own_name_is_its_kind_and_one_kind_is_no_table(tmp_path: Path) -> None:
    study = study_of(tmp_path, (NOISY, World("margin-40", "label-noise", wrong=0.4)))
    assert noise_kind_table(read_study(study)[1]) == ""
    for path in (study / "runs").glob("*/settings.json"):
        settings = json.loads(path.read_text())
        settings["scenario"]["settings"]["noise"] = settings["scenario"]["label"].removesuffix("-40")
        path.write_text(json.dumps(settings))
    names = {path: path.parent.parent for path in (study / "runs").glob("*/settings.json")}
    for path, runs in names.items():
        path.parent.rename(runs / run_name(json.loads(path.read_text())))
    told = json.loads((study / "study.json").read_text())
    told["runs"] = sorted(path.name for path in (study / "runs").iterdir())
    (study / "study.json").write_text(json.dumps(told))
    rows = noise_kind_table(read_study(study)[1]).splitlines()
    assert {row.split(" | ")[0] for row in rows[2:]} == {"| symmetric", "| margin"}


def test_foreign_and_distinct_examples_are_told(tmp_path: Path) -> None:
    text = report_of(study_of(tmp_path, **{"labels.foreign": 7, "labels.distinct": 993}))
    assert "| hash of the labels by seed | pool |" in text
    assert "| 7 foreign images, 993 distinct examples |" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("last.test_per_class", None),
        ("last.test_per_class", [0.5] * 9),
        ("labels.matrix", [[1] * 10] * 9),
        ("labels.matrix", [[1] * 9] * 10),
        ("labels.per_class", [0.0] * 11),
        ("data.num_classes", 9),
    ],
)
def test_what_is_told_by_class_must_be_told_of_every_class(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"result.json: .* cannot be right"):
        read_study(study_of(tmp_path, (CLEAN,), **{key: value}))
