"""The README says nothing that is not so: its sampler is checked as written, its commands exist, its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from robuststream import registry
from robuststream.checks import run_checks
from robuststream.cli import app
from robuststream.contracts import Sampler
from robuststream.listing import read_docstring
from robuststream.studies import load_study
from robuststream.study.plan import plan

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.fixture
def sampler(tmp_path: Path) -> str:
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    path = tmp_path / "close_call.py"
    path.write_text(block)
    return f"{path}:CloseCall"


def test_the_sampler_of_the_readme_passes_every_check(sampler: str) -> None:
    cls = registry.load("samplers", sampler, Sampler)
    assert [result for result in run_checks(cls) if not result.passed] == []


def test_the_sampler_of_the_readme_can_be_benched(sampler: str) -> None:
    runs = plan(load_study("noisy-labels", [f"samplers=uniform,peb,{sampler}"]), Path("somewhere"))
    assert {run.settings.sampler.label for run in runs} == {"uniform", "peb", "CloseCall"}


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"robuststream (\w+)", README))
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert commands <= named
    assert {name for name in named if f"bin/robuststream {name}" in README} <= commands


def test_every_bench_of_the_readme_plans(sampler: str) -> None:
    for line in re.findall(r"bin/robuststream bench (.*)", README):
        name, *overrides = [word for word in line.split() if not word.startswith("--")]
        overrides = [word.replace("close_call.py:CloseCall", sampler) for word in overrides]
        assert plan(load_study(name, overrides), Path("somewhere"))


def test_the_table_of_samplers_prints_their_docstrings() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", README, re.MULTILINE))
    found = {name: read_docstring(registry.load("samplers", name, Sampler))[0] for name in registry.names("samplers")}
    assert rows == found


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (Path(__file__).parent.parent / link).exists(), link
