"""The league is its studies side by side: no figure in it may differ from theirs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from robuststream.evidence.summary import summarise
from robuststream.records import read_study
from robuststream.studies import load_study

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import league  # noqa: E402

COMMITTED = ROOT / "reports" / "noisy-labels"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two data sets, of which the second is the first with a third of its scenarios not finished."""
    for name in ("digits", "mnist"):
        (tmp_path / name).mkdir()
        for file in ("study.json", "runs.jsonl.gz"):
            shutil.copy(COMMITTED / file, tmp_path / name)
    study = json.loads((tmp_path / "mnist" / "study.json").read_text())
    study["runs"].remove(next(run for run in study["runs"] if "symmetric-20" in run))
    (tmp_path / "mnist" / "study.json").write_text(json.dumps(study))
    return tmp_path


def test_every_cell_is_the_studys_own_and_unfinished_scenarios_are_left_out(place: Path) -> None:
    summary = league.together({name: read_study(place / name) for name in ("digits", "mnist")})
    alone = summarise(*read_study(COMMITTED))
    assert [one.scenario for one in summary.scenarios] == [
        *(f"digits: {one.scenario}" for one in alone.scenarios),
        *(f"mnist: {one.scenario}" for one in alone.scenarios if one.scenario != "symmetric-20"),
    ]
    assert [one.arms for one in summary.scenarios[:3]] == [one.arms for one in alone.scenarios]
    assert summary.finished == 2 * alone.finished - 1
    twice = league.together({name: read_study(COMMITTED) for name in ("digits", "mnist")})
    for once, both in zip(alone.across, twice.across, strict=True):
        assert both.profile == once.profile
    ends = sorted(
        2 * [run.result["last"]["test_accuracy"] for run in read_study(COMMITTED)[1] if run.sampler == "plb" and run.result]
    )
    plb = next(one for one in twice.across if one.sampler == "plb")
    assert plb.accuracy is not None
    assert plb.accuracy.value == pytest.approx(sum(ends[7:-7]) / len(ends[7:-7]))  # of 30 a quarter is left out at either end


def test_the_page_and_the_figure_name_everyone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    league.main(["--write", "--folder", str(place)])
    text = (place / "league.md").read_text()
    assert capsys.readouterr().out == text + "\n"
    drawing = (place / "league.svg").read_text()
    for arm in read_study(COMMITTED)[0]["samplers"]:
        assert f"| {arm['label']} |" in text
        assert arm["label"] == "uniform" or arm["label"] in drawing
    assert "robuststream bench samplers recipe=mnist-small" in text


def test_other_arms_or_nothing_at_all_are_refused(place: Path, tmp_path: Path) -> None:
    study, runs = read_study(place / "mnist")
    with pytest.raises(ValueError, match="mnist was measured with other arms or other seeds"):
        league.together({"digits": read_study(place / "digits"), "mnist": ({**study, "seeds": [1]}, runs)})
    with pytest.raises(SystemExit, match=r"no scenario in .* is finished yet"):
        league.main(["--folder", str(tmp_path / "nowhere")])


@pytest.mark.parametrize("name", league.STUDIES)
def test_every_study_of_the_league_can_be_asked_for(name: str) -> None:
    study = load_study("samplers", league.STUDIES[name])
    assert study.recipe.data == name
    assert len(study.seeds) >= 5
