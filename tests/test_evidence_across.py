"""Censored costs and figures over several scenarios: against hand counts, closed forms and the values of rliable 1.2.0."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from _fake_study import HALF, NEVER, TWICE, UNIFORM, World, fake_runs
from robuststream.evidence.across import (
    RATIOS,
    best_ratios,
    improvement,
    interquartile_mean,
    median_cost,
    profile_score,
    within,
)
from robuststream.evidence.censored import median_interval, median_ratio, restricted_mean
from robuststream.evidence.intervals import t_interval
from robuststream.evidence.summary import StudySummary
from test_evidence import summary_of

WORLDS = (World(), World("noisy", "label-noise", wrong=0.4))

# Five seeds (rows) of three scenarios (columns), two arms.
X = [[0.91, 0.62, 0.33], [0.93, 0.60, 0.31], [0.90, 0.66, 0.30], [0.95, 0.61, 0.37], [0.92, 0.68, 0.35]]
Y = [[0.90, 0.64, 0.20], [0.92, 0.60, 0.22], [0.91, 0.58, 0.24], [0.89, 0.63, 0.21], [0.88, 0.57, 0.26]]


def by_scenario(rows: list[list[float]]) -> dict[str, list[float]]:
    return {str(place): list(column) for place, column in enumerate(zip(*rows, strict=True))}


# Censored costs


def test_a_miss_costs_the_whole_budget() -> None:
    found = restricted_mean({0: 0.2, 1: None, 2: 0.4, 3: 1.002, 4: 0.4})
    assert found is not None
    assert (found.mean, found.runs) == (pytest.approx(0.6), 5)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(t_interval([0.2, 1.0, 0.4, 1.0, 0.4])[0])  # type: ignore[index]
    assert found.interval.high <= 1.0
    assert restricted_mean({}) is None
    assert restricted_mean({0: 0.5}).interval is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("base", "own", "value"),
    [
        ((4, 4, 4), (2, 2, 8), 2.0),
        ((4, 4, 4), (2, None, None), 0.0),  # the arm seldom came
        ((None, None, 4), (2, 2, 2), math.inf),  # uniform seldom did
        ((None, 4, 4), (None, 2, 2), 2.0),  # whatever the first pair is, the median is 2
        ((None, 4, 4), (None, 2, 8), None),  # here it decides
        ((4, 4), (1, 4), 2.0),  # between two: geometric
        ((4, None), (None, 4), None),  # between 0 and infinity nobody knows
    ],
)
def test_the_median_ratio_counts_misses_as_infinite(
    base: tuple[float | None, ...], own: tuple[float | None, ...], value: float | None
) -> None:
    found = median_ratio(dict(enumerate(base)), dict(enumerate(own)))
    assert found is not None
    assert found.value == (None if value is None else pytest.approx(value))
    assert found.pairs == len(own)


def test_a_pair_that_both_missed_opens_the_interval_to_both_sides() -> None:
    base = dict.fromkeys(range(6), 4.0)
    known = median_ratio(base, dict.fromkeys(range(6), 2.0))
    opened = median_ratio(base | {0: None}, dict.fromkeys(range(1, 6), 2.0) | {0: None})
    assert known is not None
    assert opened is not None
    assert known.interval == pytest.approx((2.0, 2.0))
    assert opened.interval is not None
    assert opened.interval.low < 2.0 < opened.interval.high
    assert median_ratio(base, {7: 1.0}) is None


def test_the_interval_of_a_median_is_interpolated_between_order_statistics() -> None:
    """Ten values: ranks 2 and 3 hold 97.85 and 89.06 %, so the weight of rank 3 is 8 I / (2 + 6 I) with I = .324."""
    levels = [1 - 2 * stats.binom.cdf(depth - 1, 10, 0.5) for depth in (2, 3)]
    assert levels == pytest.approx([0.9785, 0.8906], abs=1e-4)
    share = (levels[0] - 0.95) / (levels[0] - levels[1])
    weight = 8 * share / (2 + 6 * share)
    found = median_interval([float(value) for value in range(1, 11)])
    assert found == pytest.approx((2 ** (1 - weight) * 3**weight, 9 ** (1 - weight) * 8**weight))
    assert median_interval([3.0, 1.0, 2.0, 5.0, 4.0]) == pytest.approx((1.0, 5.0))  # five: the whole range
    assert median_interval([1.0] * 4) is None
    assert median_interval([0.0] * 3 + [1.0] * 4 + [math.inf] * 3) == (0.0, math.inf)


# Across scenarios


def test_interquartile_mean_and_improvement_are_those_of_rliable() -> None:
    assert interquartile_mean(by_scenario(X)).value == pytest.approx(0.6333333333333333)
    assert interquartile_mean(by_scenario(Y)).value == pytest.approx(0.5877777777777777)
    assert improvement(by_scenario(X), by_scenario(Y)).value == pytest.approx(0.8533333333333334)
    assert improvement(by_scenario(X), by_scenario(X)).value == pytest.approx(0.5)


def test_the_interval_of_one_scenario_solves_newcombes_equation() -> None:
    own, base = by_scenario(X)["1"], by_scenario(Y)["1"]
    value, ends = improvement({"1": own}, {"1": base})
    assert value == stats.mannwhitneyu(own, base).statistic / 25
    assert ends is not None
    for end in ends:
        variance = end * (1 - end) * (1 + 4 * ((1 - end) / (2 - end) + end / (1 + end))) / 25
        assert abs(end - value) == pytest.approx(stats.t.ppf(0.975, 8) * variance**0.5)


def test_an_arm_that_always_wins_has_an_interval_and_not_a_point() -> None:
    always = improvement({"a": [2.0] * 5, "b": [3.0] * 5}, {"a": [1.0] * 5, "b": [1.0] * 5})
    assert always.value == 1.0
    assert always.interval is not None
    assert 0.6 < always.interval.low < 0.95
    never = improvement({"a": [1.0] * 5}, {"a": [2.0] * 5})
    assert never.value == 0.0
    assert never.interval is not None
    assert never.interval.low == 0.0 < never.interval.high


def test_below_five_seeds_in_one_scenario_there_is_no_interval() -> None:
    few = by_scenario(X) | {"2": [0.3, 0.4]}
    assert interquartile_mean(few).interval is None
    assert improvement(few, by_scenario(Y)).interval is None


def test_the_bootstrap_is_the_same_twice_and_equal_scores_are_a_point() -> None:
    assert interquartile_mean(by_scenario(X)) == interquartile_mean(by_scenario(X))
    assert interquartile_mean({"a": [0.5] * 5, "b": [0.5] * 5}).interval == pytest.approx((0.5, 0.5))


def test_the_profile_of_planted_costs_has_the_area_that_geometry_says() -> None:
    costs = {"best": [1.0, 1.0], "twice": [2.0, 2.0], "mixed": [1.0, math.inf], "never": [math.inf, math.inf]}
    ratios = best_ratios(costs)
    assert {name: profile_score(own) for name, own in ratios.items()} == pytest.approx(
        {"best": 1.0, "twice": 2 / 3, "mixed": 0.5, "never": 0.0}
    )
    assert [within(ratios["twice"], ratio) for ratio in (1.0, 1.99, 2.0, 4.0)] == [0.0, 0.0, 1.0, 1.0]
    assert best_ratios({"a": [math.inf], "b": [math.inf]}) == {"a": [math.inf], "b": [math.inf]}  # nobody solved it
    grid = np.linspace(1, 4, 30_001)
    area = np.mean([within([1.3, 2.9, 5.0], ratio) for ratio in grid])
    assert profile_score([1.3, 2.9, 5.0]) == pytest.approx(area, abs=1e-3)


def test_the_profile_is_rliables_score_distribution_of_negated_ratios() -> None:
    """rliable 1.2.0 (with pandas 2): score_distributions(-ratios, -RATIOS - 1e-9), which counts scores above a threshold."""
    first, second = [1.0, 1.2, 2.5, 4.5], [1.5, 1.0, 1.0, math.inf]
    assert [within(first, ratio) for ratio in RATIOS] == [0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75]
    assert [within(second, ratio) for ratio in RATIOS] == [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75]


def test_the_median_cost_is_infinite_where_half_missed() -> None:
    assert median_cost({0: 1.0, 1: 3.0, 2: None}) == 3.0
    assert median_cost({0: 1.0, 1: None}) == math.inf


def study() -> StudySummary:
    """The second arm is exactly twice as fast: its curve ends where uniform's does."""
    return summary_of(fake_runs((UNIFORM, dataclasses.replace(TWICE, top=0.9), HALF, NEVER), WORLDS, evaluations=200))


def test_a_study_of_two_scenarios_is_summed_up() -> None:
    uniform, plb, lb, owc = study().across
    assert uniform.improvement is None
    assert plb.improvement is not None
    assert plb.improvement.value == 0.5
    assert owc.improvement is not None
    assert owc.improvement.value == 0.0
    assert plb.accuracy is not None
    assert plb.accuracy.value == pytest.approx(0.89)
    assert plb.score == 1.0
    assert uniform.score == pytest.approx((4 - 2) / 3, abs=0.03)  # plb is the best, twice as cheap
    assert lb.score == owc.score == 0.0  # half as fast as uniform is never within the budget
    assert uniform.profile is not None
    assert (len(uniform.profile), uniform.profile[0], uniform.profile[-1]) == (len(RATIOS), 0.0, 1.0)


def test_restricted_means_and_medians_hold_what_was_planted() -> None:
    uniform, plb, _, owc = study().scenarios[0].arms
    assert uniform.restricted["T95"].mean == pytest.approx(0.8 * 0.95**2, abs=0.02)
    assert plb.restricted["T95"].mean == pytest.approx(0.4 * 0.95**2, abs=0.02)
    assert owc.restricted["T95"].mean == 1.0
    assert plb.medians["T95"].value == pytest.approx(2.0, abs=0.05)
    assert owc.medians["T95"].value == 0.0
    assert uniform.medians == {}


def test_one_scenario_or_no_uniform_or_a_missing_cell_leave_gaps_not_errors() -> None:
    assert summary_of(fake_runs((UNIFORM, TWICE))).across == ()
    without = summary_of(fake_runs((TWICE, HALF), WORLDS)).across
    assert [(one.improvement, one.score) for one in without] == [(None, None)] * 2
    assert all(one.accuracy for one in without)
    runs = fake_runs((UNIFORM, TWICE), WORLDS)
    absent = [run for run in runs if (run.sampler, run.scenario) != ("plb", "noisy")]
    plb = summary_of(absent, runs).across[1]
    assert (plb.accuracy, plb.improvement, plb.score) == (None, None, None)
    unfinished = [dataclasses.replace(run, result=None) if run.scenario == "noisy" else run for run in runs]
    assert summary_of(unfinished).across == ()
