"""The tuned track: as many trials for each, on seeds of their own, chosen on validation, at a price that is added up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robuststream import registry
from robuststream.config import Plugin, Study
from robuststream.contracts import Sampler
from robuststream.errors import UserError
from robuststream.hyperparameters import Hyperparameters
from robuststream.studies import load_study
from robuststream.study.trials import FIRST_SEED, at_random, is_range, space, trial_study
from robuststream.study.tuning import Tuned, Tuning, choose, write_tuned

SMALL = ("seeds=1", "scenarios=clean", "recipe.train_size=200", "recipe.evaluations=2", "budget=1")


def small(*overrides: str) -> Study:
    return load_study("noisy-labels", ["samplers=uniform,kakurenbo", *SMALL, *overrides])


@pytest.mark.parametrize("name", registry.names("samplers"))
def test_every_declared_space_is_inside_the_range_of_its_hyperparameter(name: str) -> None:
    """Both ends of a range and every value of a list are taken by the sampler itself."""
    cls = registry.load("samplers", name, Sampler)
    for key, values in space(Plugin(label=name, kind=name)).items():
        for value in values:
            cls.from_settings({key: value}, name)


@pytest.mark.parametrize("name", registry.names("samplers"))
def test_every_sampler_with_a_number_of_its_own_may_be_tuned(name: str) -> None:
    """A tuned track that leaves some at their defaults would be no fair one."""
    hints = registry.load("samplers", name, Sampler).__annotations__.values()  # of the class itself, not of what it extends
    numeric = [hint for hint in hints if str(hint).split(" | ")[0] in ("float", "int")]
    assert space(Plugin(label=name, kind=name)) or not numeric


def test_trials_are_drawn_from_the_space_and_repeat() -> None:
    study = small()
    arm = study.samplers[1]
    drawn = [at_random(study)(arm, trial) for trial in range(1, 200)]
    for name, (low, high) in space(arm).items():
        values = [trial[name] for trial in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert drawn == [at_random(study)(arm, trial) for trial in range(1, 200)]


def test_a_space_of_decades_is_drawn_on_a_logarithmic_scale() -> None:
    study = load_study("noisy-labels", ["samplers=uniform,owc"])
    drawn = sorted(at_random(study)(study.samplers[1], trial)["alpha"] for trial in range(1, 400))
    assert drawn[200] == pytest.approx((1e-5 * 1e-2) ** 0.5, rel=0.5)  # the median of a log-uniform draw


def test_a_setting_that_the_study_fixes_is_not_tuned() -> None:
    study = small("samplers.kakurenbo.max_hidden=0.2")
    arms = trial_study(study, 3, 1, at_random(study)).samplers
    assert [arm.label for arm in arms] == ["uniform#0", "kakurenbo#0", "kakurenbo#1", "kakurenbo#2"]
    assert all(arm.given["max_hidden"] == 0.2 for arm in arms[1:])
    assert len({arm.given.get("threshold") for arm in arms[1:]}) == 3


def _stored(folder: Path, study: Study, accuracy: dict[str, tuple[float, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run folders as if the trials had ended so: label -> (validation accuracy, test accuracy)."""
    from robuststream import records

    runs = []
    for label, (validation, test) in accuracy.items():
        settings = {"sampler": {"label": label}, "scenario": {"label": "clean"}, "seed": FIRST_SEED}
        last = {"validation_accuracy": validation, "test_accuracy": test}
        runs.append(records.RunRecords(settings, [], {"last": last, "totals": {"flops": 10.0}}))
    monkeypatch.setattr(records, "read_study", lambda _: (study.model_dump(), runs))


def test_the_best_on_validation_is_chosen_whatever_the_test_set_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small()
    trials = trial_study(study, 3, 1, at_random(study))
    ended = {"uniform#0": (0.5, 0.5), "kakurenbo#0": (0.6, 0.9), "kakurenbo#1": (0.8, 0.1), "kakurenbo#2": (0.7, 0.99)}
    _stored(tmp_path, trials, ended, monkeypatch)
    uniform, kakurenbo = choose(study, tmp_path)
    assert (uniform.trials, uniform.best.given) == (1, {})
    assert kakurenbo.best.given == trials.samplers[2].given
    assert (kakurenbo.accuracy, kakurenbo.as_given, kakurenbo.flops, kakurenbo.trials) == (0.8, 0.6, 30.0, 3)


def test_a_trial_that_failed_is_not_chosen_and_the_studys_own_must_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small()
    trials = trial_study(study, 3, 1, at_random(study))
    _stored(tmp_path, trials, {"uniform#0": (0.5, 0.5), "kakurenbo#0": (0.6, 0.9)}, monkeypatch)
    assert choose(study, tmp_path)[1].best.given == {}
    _stored(tmp_path, trials, {"uniform#0": (0.5, 0.5), "kakurenbo#1": (0.6, 0.9)}, monkeypatch)
    with pytest.raises(UserError, match="'kakurenbo' has not finished its trial with the settings as given"):
        choose(study, tmp_path)


def test_seeds_of_trials_are_kept_from_the_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seeds=1000 is not possible here"):
        Tuning(small("seeds=[3, 1000]"), tmp_path, "tune", trials=2, seeds=2, search="random", jobs=1)


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_tune_ends_with_a_study_that_bench_takes(
    search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if search == "tpe":
        pytest.importorskip("optuna", reason="optuna, an extra, is not installed")
    monkeypatch.chdir(tmp_path)
    study, folder = small(), tmp_path / "trials"
    assert Tuning(study, folder, "tune", trials=3, seeds=1, search=search, jobs=2).run() == 0
    assert "tuned study:" in capsys.readouterr().out
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")}
    assert len(results) == 4  # one of uniform's, three of KAKURENBO's
    text = (folder / "noisy-labels-tuned.yaml").read_text()
    tuned = load_study(str(folder / "noisy-labels-tuned.yaml"))
    assert tuned.recipe == study.recipe
    assert [arm.kind for arm in tuned.samplers] == ["uniform", "kakurenbo"]
    total = sum(result["totals"]["flops"] for name, result in results.items() if name.startswith("kakurenbo"))
    assert f"# kakurenbo: 3 trials, {total:.3g} FLOPs" in text
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}
    assert Tuning(study, folder, "tune", trials=3, seeds=1, search=search, jobs=2).run() == 0  # nothing is run twice
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")} == before


def test_an_arms_learner_is_kept(tmp_path: Path) -> None:
    study = small("samplers.kakurenbo.learner={kind: gce, q: 0.5}")
    tuned = [Tuned(arm, arm, 1, 1, 0.5, 0.5, 1.0) for arm in study.samplers]
    again = load_study(str(write_tuned(study, tuned, tmp_path, "tune")))
    assert again.samplers == study.samplers


def test_nothing_that_a_study_says_is_lost(tmp_path: Path) -> None:
    """Placebos, budgets, and what a scenario changes of the recipe."""
    more = ["samplers.kakurenbo.placebo=true", "budgets=[0.5, 1]", "scenarios={slow: {kind: clean, recipe: {lr: 0.01}}}"]
    study = load_study("noisy-labels", ["samplers=uniform,kakurenbo", "seeds=1", *more])
    tuned = [Tuned(arm, arm, 1, 1, 0.5, 0.5, 1.0) for arm in study.samplers]
    again = load_study(str(write_tuned(study, tuned, tmp_path, "tune")))
    assert again.model_copy(update={"name": study.name, "about": study.about}) == study
    assert again.about.startswith(study.about)
    assert again.about.endswith("choosing cost 2 FLOPs, as much as 2 of the cheapest arm's runs, and is in none of the figures.")


def test_two_numbers_are_a_range_and_words_are_not() -> None:
    assert is_range((0.1, 2))
    assert not is_range(("literal", "within_batch"))
    assert not is_range((False, True))
    assert issubclass(Sampler, Hyperparameters)
