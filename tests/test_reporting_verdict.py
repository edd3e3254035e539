"""Verdicts on studies with known answers: a gain, nothing, a harm, too few seeds, nobody there. Seeds differ at random."""

from __future__ import annotations

import dataclasses
import re

import pytest

from _fake_study import UNIFORM, Arm, World, fake_runs
from robuststream.evidence.intervals import Interval
from robuststream.evidence.placebos import placebos
from robuststream.evidence.speedup import HEADLINE
from robuststream.evidence.summary import StudySummary
from robuststream.reporting.matrix import matrix_table
from robuststream.reporting.sides import accuracy_side, judge, placebo_speed_side, speed_side
from robuststream.reporting.verdict import verdicts
from robuststream.reporting.versus import placebo_rows
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
        assert 1 <= sides.count("up") + sides.count("down") <= 20
        assert set(sides) == {"up", "down", "open"}  # five seeds claim nothing


def test_a_planted_harm_is_named() -> None:
    text = text_of(study(dataclasses.replace(ARM, speed=0.75, top=0.885), seeds=20))
    assert "Slower than uniform: mine." in text
    assert "above uniform: nobody; below: mine." in text
    assert "as fast" not in text


def test_five_seeds_report_what_ten_would_claim() -> None:
    """The planted gain of 1.3 has an interval above 1 with five seeds as with ten; the word 'less compute' is for ten."""
    arm = dataclasses.replace(ARM, speed=1.3)
    few, enough = study(arm, seeds=5), study(arm, seeds=10)
    assert [speed_side(summary.scenarios[0].arms[1]) for summary in (few, enough)] == ["up", "better"]
    text = text_of(few)
    assert "**No sampler may be claimed to reach 95 % of uniform's gain with less compute than uniform.**" in text
    assert re.search(r"\*\*Reported, not claimed, to be ahead in compute\*\*: mine 1\.\d\d× \[1\.\d\d, 1\.\d\d\]\.", text)
    assert "5 seeds: reported, not claimed" in text
    assert "as fast" not in text
    cell = matrix_table(few).splitlines()[3].split("|")[2].strip()
    assert cell.startswith("reported 1.")
    assert "**" not in cell
    assert matrix_table(enough).splitlines()[3].split("|")[2].strip().startswith("**faster 1.")


def test_a_harm_in_five_seeds_is_reported_not_claimed() -> None:
    text = text_of(study(dataclasses.replace(ARM, top=0.85), seeds=5))
    assert "Test accuracy, reported and not claimed: above uniform: nobody; below: mine." in text
    assert "**Test accuracy at the end:**" not in text


def test_a_claim_must_survive_holm_over_the_arms() -> None:
    """Ten seeds give no p below 2 / 2^10: with 30 arms Holm leaves .059, so even a planted 1.3 can only be reported."""
    fast = dataclasses.replace(ARM, speed=1.3)
    others = [dataclasses.replace(ARM, label=f"other {place}", kind=f"k{place}") for place in range(29)]
    summary = summary_of(fake_runs((BASE, fast, *others), seeds=10))
    mine = summary.scenarios[0].arms[1]
    assert mine.speedups[HEADLINE].p == pytest.approx(30 * 2 / 2**10, rel=1e-6)
    assert speed_side(mine) == "up"
    text = text_of(summary)
    assert "10 seeds: too few to claim anything of 30 arms" in text
    assert "is .059; 11 seeds would do" in text


@pytest.mark.parametrize(
    ("ends", "pairs", "p", "side"),
    [
        ((1.1, 1.4), 10, 0.002, "better"),
        ((1.1, 1.4), 9, 0.004, "up"),
        ((1.1, 1.4), 10, 0.05, "up"),
        ((1.1, 1.4), 10, None, "up"),
        ((0.9, 1.4), 10, 0.002, "open"),
        ((1.0, 1.4), 10, 0.002, "open"),
        ((0.6, 0.9), 10, 0.002, "worse"),
        ((0.6, 0.9), 5, 0.062, "down"),
        (None, 4, None, "ahead"),
    ],
)
def test_every_condition_of_a_claim_is_needed(ends: tuple[float, float] | None, pairs: int, p: float | None, side: str) -> None:
    assert judge(1.2, Interval(*ends) if ends else None, 1.0, pairs, p) == side


# Placebos (rule 9)


def test_a_choice_that_helps_is_told_from_one_that_does_not() -> None:
    """Both selectors are 1.3 times as fast as uniform; of one the placebo is as fast as itself."""
    knows = dataclasses.replace(ARM, label="knows", kind="knows", speed=1.3)
    counts = dataclasses.replace(ARM, label="counts", kind="counts", speed=1.3)
    chance = dataclasses.replace(knows, label="knows-placebo", speed=1.0, placebo=True)
    equal = dataclasses.replace(counts, label="counts-placebo", placebo=True)
    summary = summary_of(fake_runs((BASE, knows, chance, counts, equal), seeds=12, evaluations=200))
    assert [one.sampler for one in summary.placebos] == ["knows", "counts"]
    assert [placebo_speed_side(one) for one in summary.placebos] == ["better", "open"]
    text = text_of(summary)
    assert (
        "**Against their placebos** (the same shares, chosen at random), in accuracy or compute: choosing helps: knows in clean."
        in text
    )
    rows = placebo_rows(summary)
    assert rows[1][:2] == ["clean", "knows"]
    assert rows[1][6].startswith("**1.") and not rows[2][6].startswith("**")  # noqa: PT018
    nothing = summary_of(fake_runs((BASE, counts, equal), seeds=12, evaluations=200))
    assert "no sampler's choice was shown to matter" in text_of(nothing)


def test_a_placebo_stands_beside_the_arm_of_its_own_settings() -> None:
    entries = [
        {"label": "a", "kind": "plb", "given": {"warmup_epochs": 1}},
        {"label": "b", "kind": "plb", "given": {"warmup_epochs": 2}},
        {"label": "fake b", "kind": "plb", "given": {"warmup_epochs": 2}, "placebo": True},
        {"label": "fake c", "kind": "lb", "given": {}, "placebo": True},
    ]
    assert placebos({"samplers": entries}) == {"b": "fake b"}


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


def test_many_scenarios_are_counted_and_few_are_named() -> None:
    worlds = tuple(World(f"world {place}") for place in range(7))
    runs = fake_runs((BASE, dataclasses.replace(ARM, speed=1.3)), worlds[:5], 3, 200)
    runs += fake_runs((BASE, dataclasses.replace(ARM, top=0.5)), worlds[5:], 3, 200)
    text = text_of(summary_of(runs))
    assert re.search(r"Speed as measured, without intervals: mine 1\.\d\d× to 1\.\d\d× in 5 of 7 scenarios\.", text)
    assert "Most runs did not get to 95 % of uniform's gain: mine in world 5 and world 6." in text
    few = text_of(study(dataclasses.replace(ARM, speed=1.3), 3, worlds[:3]))
    assert re.search(r"mine 1\.\d\d× in world 0, mine 1\.\d\d× in world 1 and mine 1\.\d\d× in world 2\.", few)
