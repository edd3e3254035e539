"""The README's promises: each sentence names tests, and each test that is named exists."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SECTION = (HERE.parent / "README.md").read_text().partition("## What it promises\n")[2].partition("\n## ")[0]


def named(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", text))


def test_every_named_test_exists() -> None:
    defined = {name for path in HERE.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert len(named(SECTION)) >= 15
    assert named(SECTION) <= defined


def test_every_promise_names_a_test() -> None:
    promises = SECTION.split("\n- ")[1:]
    assert len(promises) >= 6
    for promise in promises:
        assert named(promise), promise
