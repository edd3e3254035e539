"""Statistics against simulation, against hand-counted cases, and against truths planted in synthetic runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

from _fake_study import CHANCE, HALF, NEVER, TWICE, UNIFORM, Arm, World, fake_runs
from robuststream.evidence.clock import side_by_side
from robuststream.evidence.intervals import bca_interval, holm, paired_ratio, sign_flip_p, t_interval, wilson
from robuststream.evidence.speedup import cost_to_target, ladder, speed_up
from robuststream.evidence.summary import StudySummary, summarise
from robuststream.records import RULES, RunRecords, run_name


def summary_of(runs: list[RunRecords], planned: list[RunRecords] | None = None) -> StudySummary:
    """The summary of a study that planned these runs."""
    planned = planned or runs

    def plugins(key: str) -> list[dict[str, Any]]:
        found = {run.settings[key]["label"]: run.settings[key] for run in planned}
        same = {"given": {}}
        return [{"label": label, "kind": e["kind"], "placebo": e.get("placebo", False)} | same for label, e in found.items()]

    study = {
        "rules": RULES,
        "name": "fake",
        "seeds": sorted({run.seed for run in planned}),
        "samplers": plugins("sampler"),
        "scenarios": plugins("scenario"),
        "runs": [run_name(run.settings) for run in planned],
    }
    return summarise(study, runs)


def flags_of(runs: list[RunRecords], planned: list[RunRecords] | None = None) -> dict[str, Any]:
    return {flag.name: flag for flag in summary_of(runs, planned).flags}


def changed(run: RunRecords, **parts: dict[str, Any]) -> RunRecords:
    """The same run with parts of its result replaced: changed(run, seconds={'evaluation': 9.0})."""
    assert run.result is not None
    return dataclasses.replace(run, result=run.result | {key: run.result[key] | new for key, new in parts.items()})


# Intervals


def test_the_bootstrap_is_the_same_twice_and_leaves_the_global_generator_alone() -> None:
    values = np.random.default_rng(1).normal(size=25).tolist()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert bca_interval(values) == bca_interval(values)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_ratios_are_bootstrapped_from_20_pairs_on() -> None:
    generator = np.random.default_rng(3)
    costs = np.exp(generator.gamma(1.0, 1.0, 20))
    by_t = t_interval(np.log(costs[:19]).tolist())
    below, above = paired_ratio(costs[:19].tolist(), [1.0] * 19), paired_ratio(costs.tolist(), [1.0] * 20)
    assert below is not None
    assert above is not None
    assert by_t is not None
    assert below.interval == pytest.approx([math.exp(end) for end in by_t])
    assert above.interval == pytest.approx([math.exp(end) for end in bca_interval(np.log(costs).tolist())])


def test_no_interval_and_no_p_below_five() -> None:
    few = paired_ratio([2.0, 2.1, 1.9, 2.0], [1.0] * 4)
    assert few is not None
    assert few.interval is None
    assert few.value == pytest.approx(2.0, abs=0.01)
    assert t_interval([1.0, 2.0, 3.0, 4.0]) is None
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0]) is None
    assert t_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(
        stats.t.interval(0.95, 4, 3.0, np.std([1, 2, 3, 4, 5], ddof=1) / 5**0.5)
    )


def test_equal_values_give_a_point_not_nan() -> None:
    same = paired_ratio([3.0] * 20, [1.5] * 20)
    assert same is not None
    assert same.interval == pytest.approx((2.0, 2.0))


def test_wilson_is_the_published_interval() -> None:
    assert wilson(4, 5) == pytest.approx((0.3755, 0.9638), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_sign_flips_are_counted_exactly() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) == 2 / 32
    differences = [0.5, -1.0, 2.0, 0.1, 3.0, -0.2]
    by_hand = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in itertools.product((1, -1), repeat=6)]
    assert sign_flip_p(differences) == np.mean([total >= abs(sum(differences)) - 1e-12 for total in by_hand])


def test_random_flips_agree_with_the_exact_count() -> None:
    sixteen = np.random.default_rng(2).normal(0.4, 1.0, 16)
    exact, random = sign_flip_p(sixteen.tolist()), sign_flip_p([*sixteen.tolist(), 0.0])  # a zero changes no sum
    assert exact is not None
    assert exact == pytest.approx(random, abs=0.005)


def test_holm_steps_down_in_the_given_order() -> None:
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# Targets and speed-ups


def evaluations(*accuracies: float | None) -> list[dict[str, Any]]:
    return [{"step": 10 * place, "validation_accuracy": value} for place, value in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("accuracies", "cost"),
    [
        ((0.1, 0.9, 0.5, 0.9, 0.9), 30),  # a single spike does not count
        ((0.1, 0.8, 0.8), 10),  # at the target counts
        ((0.1, 0.2, 0.9), None),  # nothing follows that could confirm it
        ((0.9, 0.9, 0.9), 10),  # before anything was spent nothing is reached
        ((0.1, None, 0.9, float("nan"), 0.9), None),  # no figure is a miss
        ((), None),
    ],
)
def test_a_target_is_reached_at_the_first_of_two_in_a_row(accuracies: tuple[float | None, ...], cost: float | None) -> None:
    assert cost_to_target(evaluations(*accuracies), 0.8, "step") == cost


def test_the_ladder_is_in_shares_of_the_gain_over_chance() -> None:
    rungs = ladder(fake_runs((UNIFORM,), seeds=5), 10)
    assert rungs is not None
    assert rungs.top == pytest.approx(0.9)
    assert rungs.targets == pytest.approx({"T90": 0.82, "T95": 0.86, "T98": 0.884, "T100": 0.9})


@pytest.mark.parametrize("speed", [2.0, 0.8])
def test_a_planted_speed_up_is_found(speed: float) -> None:
    arm = Arm("arm", "arm", speed=speed)
    arms = {label: fake_runs((planted,), evaluations=800) for label, planted in (("uniform", UNIFORM), ("arm", arm))}
    rungs = ladder(arms["uniform"], 10)
    assert rungs is not None
    for currency in ("step", "backwards", "flops", "seconds"):
        found = speed_up(arms["arm"], arms["uniform"], rungs, "T95", currency).ratio
        assert found is not None
        assert found.pairs == 5
        assert found.value == pytest.approx(speed, rel=0.02)
        assert found.interval is not None
        assert found.interval.low <= found.value <= found.interval.high


def test_currencies_charge_probes_differently() -> None:
    """As many FLOPs as uniform, but every trained example costs a probe: fewer backwards to the same target."""
    runs = {label: fake_runs((Arm(label, label, probes=probes),), evaluations=400) for label, probes in (("a", 0.0), ("b", 1.0))}
    rungs = ladder(runs["a"], 10)
    assert rungs is not None
    ratios = {currency: speed_up(runs["b"], runs["a"], rungs, "T95", currency).ratio for currency in ("flops", "backwards")}
    assert {key: round(ratio.value, 2) for key, ratio in ratios.items() if ratio} == {"flops": 1.0, "backwards": 1.33}


def test_misses_are_counted_and_silence_the_speed_up() -> None:
    uniform, arm = fake_runs((UNIFORM,)), fake_runs((TWICE,))
    rungs = ladder(uniform, 10)
    assert rungs is not None
    two_of_five = [dataclasses.replace(run, evaluations=run.evaluations[:2]) if run.seed > 1 else run for run in arm]
    three_of_five = [dataclasses.replace(run, evaluations=run.evaluations[:2]) if run.seed > 2 else run for run in arm]
    few, enough = (speed_up(runs, uniform, rungs, "T95", "flops") for runs in (two_of_five, three_of_five))
    assert (few.reach.reached, few.reach.runs, few.ratio) == (2, 5, None)
    assert enough.reach.interval == pytest.approx(wilson(3, 5))
    assert enough.ratio is not None
    assert (enough.ratio.pairs, enough.ratio.interval) == (3, None)
    slow_uniform = [dataclasses.replace(run, evaluations=run.evaluations[:2]) if run.seed > 1 else run for run in uniform]
    assert speed_up(arm, slow_uniform, rungs, "T95", "flops").ratio is None


def test_pairs_are_by_seed_not_by_place() -> None:
    uniform, arm = fake_runs((UNIFORM,), evaluations=100), fake_runs((TWICE,), evaluations=100)
    rungs = ladder(uniform, 10)
    assert rungs is not None
    straight, shuffled = (speed_up(runs, uniform, rungs, "T95", "flops") for runs in (arm, arm[::-1]))
    assert straight.ratio is not None
    assert shuffled.ratio is not None
    assert straight.ratio.interval == pytest.approx(shuffled.ratio.interval)


# Summary


def test_a_summary_holds_what_was_planted() -> None:
    world = World("noisy", "label-noise", wrong=0.4, figures={"accuracy under PGD-20": 0.25})
    found = summary_of(fake_runs((UNIFORM, TWICE, HALF, NEVER), (World(), world)))
    assert (found.baseline, found.planned, found.finished) == ("uniform", 40, 40)
    uniform, plb, lb, owc = found.scenarios[1].arms
    assert uniform.gap is None
    assert plb.gap is not None
    assert plb.gap.points == pytest.approx(2.0)
    assert plb.gap.p == pytest.approx(3 * 2 / 32)  # Holm over three arms
    assert plb.last_test is not None
    assert (plb.last_test.mean, plb.last_test.n) == (pytest.approx(0.91), 5)
    assert plb.last_test.sd == pytest.approx(np.std([0.004 * k for k in (-2, -1, 0, 1, 2)], ddof=1))
    assert plb.best_test is not None
    assert plb.best_test.mean == pytest.approx(0.915)
    assert plb.figures["accuracy under PGD-20"].mean == 0.25
    assert plb.diagnostics["enrichment"] is not None
    assert plb.diagnostics["enrichment"].mean == pytest.approx(0.6)
    assert uniform.diagnostics["concordance"] is None
    assert found.scenarios[0].arms[0].diagnostics["enrichment"] is None
    assert plb.costs is not None
    assert plb.costs.overhead == pytest.approx(1.1, abs=1e-3)
    assert lb.counters == {"presented": 50000}
    assert owc.reach["T90"].reached == 0
    assert owc.speedups["T90", "flops"].ratio is None


def test_unfinished_runs_count_as_missing_only() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    partly = [dataclasses.replace(run, result=None) if run.seed > 1 and run.sampler == "plb" else run for run in runs]
    found = summary_of(partly)
    plb = found.scenarios[0].arms[1]
    assert (found.finished, plb.finished, plb.planned) == (7, 2, 5)
    assert plb.gap is not None
    assert (plb.gap.pairs, plb.gap.interval, plb.gap.p) == (2, None, None)


def test_without_uniform_there_is_no_ladder() -> None:
    found = summary_of(fake_runs((TWICE, HALF)))
    assert found.baseline is None
    assert found.scenarios[0].ladder is None
    assert all(arm.gap is None and not arm.speedups and arm.last_test for arm in found.scenarios[0].arms)


def test_the_baseline_is_known_by_its_kind_not_its_label() -> None:
    shuffled = dataclasses.replace(UNIFORM, label="plain shuffling")
    assert summary_of(fake_runs((TWICE, shuffled))).baseline == "plain shuffling"


# Flags: each is raised by what it is about, and silent otherwise


def test_a_clean_study_raises_no_flag() -> None:
    world = World("noisy", "label-noise", wrong=0.4)
    assert flags_of(fake_runs((UNIFORM, TWICE, HALF), (World(), world))) == {}


def test_missing_and_diverged_runs_are_flagged() -> None:
    runs = fake_runs((UNIFORM, dataclasses.replace(TWICE, diverges=True)))
    found = flags_of([dataclasses.replace(runs[-1], result=None), *runs[:-1]], runs)
    assert found["runs missing"].sentence.startswith("1 of 10 runs")
    assert found["diverged"].sentence.startswith("4 runs diverged")
    assert [str(place) for place in found["diverged"].where] == ["plb, clean"]


def test_base_values_that_had_to_be_replaced_are_flagged() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    exploded = [changed(run, counters={"repaired_values": 7 * run.seed}) if run.sampler == "plb" else run for run in runs]
    found = flags_of(exploded)["base values repaired"]
    assert "up to 28 times in a run" in found.sentence
    assert [str(place) for place in found.where] == ["plb, clean"]
    whole = [changed(run, counters={"repaired_values": 0}) for run in runs]
    assert "base values repaired" not in flags_of(whole)


def test_a_baseline_that_did_not_decay_is_flagged() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    held = [dataclasses.replace(run, evaluations=[e | {"lr": 0.1} for e in run.evaluations]) for run in runs]
    assert "100%" in flags_of(held)["baseline not decayed"].sentence
    only_plb = [new if new.sampler == "plb" else run for new, run in zip(held, runs, strict=True)]
    assert "baseline not decayed" not in flags_of(only_plb)


def test_a_target_near_the_start_is_flagged() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    late = [dataclasses.replace(run, evaluations=run.evaluations[14:]) for run in runs]  # begins at .85, T90 is .82
    found = flags_of(late)["target near the start"]
    assert "T90 in clean" in found.sentence
    assert found.doubts == "speed-up"


def test_labels_that_seem_to_leak_are_flagged() -> None:
    world = World("noisy", "label-noise", wrong=0.2)
    leaky = Arm("mine", "mine", top=0.95, enrichment=2.5)
    assert [str(place) for place in flags_of(fake_runs((UNIFORM, leaky), (world,)))["labels leak?"].where] == ["mine, noisy"]
    harmed = dataclasses.replace(leaky, top=0.8)
    assert "labels leak?" not in flags_of(fake_runs((UNIFORM, harmed), (world,)))


def test_data_bound_and_heavy_evaluation_are_flagged() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    fetching = [changed(run, seconds={"phases": {"fetch": 0.4 * run.result["seconds"]["train"]}}) for run in runs if run.result]
    assert "40%" in flags_of(fetching)["data-bound"].sentence
    testing = [changed(run, seconds={"evaluation": run.result["seconds"]["train"]}) for run in runs if run.result]
    assert flags_of(testing)["evaluation heavy"].doubts == "seconds"


def test_a_drift_over_the_run_order_is_flagged_whatever_the_arms_cost() -> None:
    runs = fake_runs((UNIFORM, TWICE, NEVER), seeds=10)
    slower = [
        changed(run, seconds={"train": run.result["seconds"]["train"] * (1 + 0.02 * place)})
        for place, run in enumerate(runs)
        if run.result
    ]
    assert "drift of step time" in flags_of(slower)
    assert "drift of step time" in flags_of(slower[::-1])  # order is by the clock, not by the list
    costly = [changed(run, seconds={"train": 50.0}) if run.sampler == "owc" else run for run in runs]
    assert "drift of step time" not in flags_of(costly)


def test_unequal_labels_and_mixed_machines_are_flagged() -> None:
    runs = fake_runs((UNIFORM, TWICE))
    other = [changed(runs[0], labels={"hash": "other"}), *runs[1:]]
    assert "in 1 pairs" in flags_of(other)["unequal data"].sentence
    moved = [changed(runs[0], provenance={"device": "another"}), *runs[1:]]
    assert "do not agree in device" in flags_of(moved)["mixed provenance"].sentence


def test_overlapping_runs_are_noticed() -> None:
    apart = fake_runs((UNIFORM, TWICE))
    assert not side_by_side(apart)
    long = [changed(run, seconds={"train": 90.0}) for run in apart]  # runs start a minute apart
    assert side_by_side(long)


def test_chance_is_one_over_the_classes() -> None:
    rungs = summary_of(fake_runs((UNIFORM,))).scenarios[0].ladder
    assert rungs is not None
    assert rungs.chance == CHANCE


def test_evidence_needs_no_torch() -> None:
    code = "import sys, robuststream.evidence.summary; print([m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
