"""A thousand cases of bad input (benchmarks/fuzz.py tries any number): refused for people, or accepted; never a traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from robuststream import cli
from robuststream.errors import UserError

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

from reliability.cases import CASES, Case, tried  # noqa: E402

EACH = 145  # of seven kinds: a thousand


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_for_people(name: str) -> None:
    @settings(max_examples=EACH, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(CASES[name].values)
    def attempt(value: Any) -> None:
        tried(CASES[name], value)

    attempt()


def test_a_traceback_would_be_seen() -> None:
    def careless(value: Any, folder: Path) -> None:
        raise KeyError(value)

    with pytest.raises(KeyError):
        tried(Case(CASES["overrides"].values, careless), "x")


def test_a_refusal_is_one_line_that_a_terminal_shows_and_does_not_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise UserError("a\nname \x1b[31m of \u202e somebody's")

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "robuststream: a name \\x1b[31m of \\x202e somebody's\n"
