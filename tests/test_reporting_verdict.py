"""Verdicts on studies with known answers: a gain, nothing, a harm, too few seeds, nobody there. Seeds differ at random."""

from __future__ import annotations

import dataclasses
import re

import pytest

from _fake_study import UNIFORM, Arm, World, fake_runs
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.matrix import matrix_table
from robuststream.reporting.verdict import accuracy_side, speed_side, verdicts
from test_evidence import summary_of

BASE = dataclasses.replace(UNIFORM, jitter=0.06)
ARM = Arm("mine", "mine", jitter=0.06)
WORLDS = (World(), World("noisy", "label-noise", wrong=0.4))


def study(arm: Arm, seeds: int = 10, worlds: tuple[World, ...] = (World(),), base: Arm = BASE) -> StudySummary:
    return summary_of(fake_runs((base, arm), worlds, seeds, evaluations=200))


def text_of(summary: StudySummary) -> str:
    return "\n".join(verdicts(summary))


def test_a_planted_gain_is_found_and_its_size_is_within_the_interval() -> None:
    text = text_of(study(dataclasses.replace(ARM, speed=1.3)))
    found = re.search(
        r"\*\*mine reaches 95 % of uniform's gain with less compute than uniform:\*\* (.*?)× as fast \[(.*?), (.*?)\]", text
    )
    assert found
    value, low, high = map(float, found.groups())
    assert 1 < low < 1.3 < high < 1.5
    assert value == pytest.approx(1.3, abs=0.06)
    assert "(p .002)" in text
    assert "No difference in accuracy is shown." in text
    assert "10 seeds: enough for a claim" in text
    assert "Slower" not in text


def test_a_planted_nothing_is_called_nothing() -> None:
    text = text_of(study(ARM))
    assert "**No sampler was shown to reach 95 % of uniform's gain with less compute than uniform.**" in text
    assert "no difference from uniform shown for any sampler" in text
    assert "as fast" not in text


def test_nothing_is_rarely_called_something() -> None:
    """Two hundred scenarios in which the arm is uniform: a 95 % interval may err in about one of twenty."""
    summary = study(ARM, 5, tuple(World(f"world {place}") for place in range(200)))
    for side in (speed_side, accuracy_side):
        sides = [side(scenario.arms[1]) for scenario in summary.scenarios]
        assert 1 <= sides.count("better") + sides.count("worse") <= 20
        assert set(sides) == {"better", "worse", "open"}


def test_a_planted_harm_is_named() -> None:
    text = text_of(study(dataclasses.replace(ARM, speed=0.75, top=0.885)))
    assert "Slower than uniform: mine." in text
    assert "above uniform: nobody; below: mine." in text
    assert "as fast" not in text


def test_too_few_seeds_are_indicative_and_have_no_interval() -> None:
    text = text_of(study(dataclasses.replace(ARM, speed=1.3), seeds=3))
    assert "3 seeds: indicative only" in text
    assert re.search(r"Speed as measured, without intervals: mine 1\.\d\d×\.", text)
    assert "[" not in text
    assert "**mine" not in text


def test_where_nobody_gets_there_that_is_the_verdict() -> None:
    summary = study(dataclasses.replace(ARM, top=0.5))
    assert "**No other sampler reached 95 % of uniform's gain** in at least half of its runs." in text_of(summary)
    mine = summary.scenarios[0].arms[1]
    assert mine.speedups[HEADLINE].ratio is None
    assert mine.medians["T95"].value == 0.0
    assert mine.restricted["T95"].mean == 1.0


def test_what_holds_in_one_scenario_only_says_so() -> None:
    runs = fake_runs((BASE, dataclasses.replace(ARM, speed=1.3)), WORLDS[:1], 10, 200)
    runs += fake_runs((BASE, dataclasses.replace(ARM, top=0.6)), WORLDS[1:], 10, 200)
    summary = summary_of(runs)
    text = text_of(summary)
    assert re.search(r"× as fast \[.*?\] \(p \.002\) in clean\. Elsewhere: most of its runs did not get there in noisy\.", text)
    assert "Most runs did not get to 95 % of uniform's gain: mine in noisy." in text
    assert re.search(r"It ends less accurate: -\d+\.\d\d \[.*?\] points \(p \.002\) in noisy\.", text)
    cells = matrix_table(summary).splitlines()[3].split("|")
    assert cells[2].strip().startswith("**faster 1.")
    assert cells[3].strip().startswith("did not get there (0 of 10)<br>**-")
