"""Settings: what is read, what an override changes, and how each mistake is answered."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from robuststream import registry
from robuststream.contracts import Sampler
from robuststream.errors import UserError
from robuststream.studies import config_folder, load_study, presets, recipe_names, study_names
from robuststream.study.plan import plan


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_plans(name: str) -> None:
    study = load_study(name)
    runs = plan(study, Path("somewhere"))
    assert len(runs) == len(study.samplers) * len(study.scenarios) * len(study.seeds)
    assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_what_to_expect(name: str) -> None:
    assert load_study("noisy-labels", [f"recipe={name}"]).recipe.name == name
    head = (config_folder() / "recipes" / f"{name}.yaml").read_text().split("\n\n")[0]
    assert head.startswith("#")


def test_overrides_reach_every_level() -> None:
    study = load_study(
        "noisy-labels",
        [
            "seeds=[3, 7]",
            "budget=500 steps",
            "recipe.lr=1e-3",
            "recipe.augment.crop=2",
            "samplers.plb.warmup_epochs=2",
            "scenarios.symmetric-40.rate=0.5",
        ],
    )
    assert study.seeds == [3, 7]
    assert (study.recipe.budget.amount, study.recipe.budget.unit) == (500, "steps")
    assert study.recipe.lr == 0.001
    assert study.recipe.augment.crop == 2
    assert next(s for s in study.samplers if s.label == "plb").given == {"warmup_epochs": 2}
    assert next(s for s in study.scenarios if s.label == "symmetric-40").given["rate"] == 0.5


def test_presets_are_known_to_every_study_and_its_own_entries_come_first(tmp_path: Path) -> None:
    chosen = "scenarios=symmetric-40,asymmetric-40,instance-40,proto-40,margin-40"
    study = load_study("noisy-labels", [chosen, "scenarios.margin-40.rate=0.1"])
    assert [(s.label, s.kind, s.given["noise"], s.given["rate"]) for s in study.scenarios] == [
        ("symmetric-40", "label-noise", "symmetric", 0.4),
        ("asymmetric-40", "label-noise", "asymmetric", 0.4),
        ("instance-40", "label-noise", "instance", 0.4),
        ("proto-40", "label-noise", "proto", 0.4),
        ("margin-40", "label-noise", "margin", 0.1),
    ]
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: digits-cnn\nsamplers: {uniform: }\nscenarios: {margin-40: {kind: label-noise, rate: 0.3}}\n")
    (own,) = load_study(str(path), ["scenarios=margin-40"]).scenarios
    assert own.given == {"rate": 0.3}
    with pytest.raises(UserError, match=r"did you mean 'margin-40'\?"):
        load_study("noisy-labels", ["scenarios=margn-40"])


@pytest.mark.parametrize("section", ["samplers", "scenarios"])
def test_every_preset_constructs(section: str) -> None:
    for label in presets(section):
        study = load_study("noisy-labels", [f"{section}={label}"])
        assert plan(study, Path("somewhere"))


def test_selecting_arms_keeps_their_settings_and_adds_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: digits-cnn\nsamplers: {slow: {kind: plb, warmup_epochs: 5}}\nscenarios: {clean: }\n")
    study = load_study(str(path), ["samplers=slow,uniform"])
    assert [(s.label, s.kind, s.given) for s in study.samplers] == [
        ("slow", "plb", {"warmup_epochs": 5}),
        ("uniform", "uniform", {}),
    ]
    assert study.name == "mine"
    assert study.seeds == [0, 1, 2, 3, 4]


def test_the_arms_of_a_block_stand_together_in_an_order_that_differs() -> None:
    runs = plan(load_study("noisy-labels"), Path("somewhere"))
    arms = len(load_study("noisy-labels").samplers)
    blocks = [runs[start : start + arms] for start in range(0, len(runs), arms)]
    for block in blocks:
        assert len({(run.settings.seed, run.settings.scenario.label) for run in block}) == 1
    assert len({tuple(run.settings.sampler.label for run in block) for block in blocks}) > 5


def test_hyperparameters_are_spelled_out_in_a_run() -> None:
    run = plan(load_study("noisy-labels", ["samplers=plb"]), Path("somewhere"))[0]
    assert run.settings.sampler.settings == {
        "warmup_epochs": 1.0,
        "refresh": "pre",
        "refresh_oldest": 0.0,
        "temper": 1.0,
        "clip": None,
        "mix": 0.0,
        "correct": 0.0,
    }


def test_a_scenario_may_change_the_recipe_for_all_its_arms() -> None:
    study = load_study("noisy-labels", ["samplers=uniform,plb", "scenarios.symmetric-20.recipe={lr: 0.3, batch_size: 16}"])
    recipes = {(run.settings.scenario.label, run.settings.sampler.label): run.settings.recipe for run in plan(study, Path("x"))}
    assert {recipes["symmetric-20", arm].lr for arm in ("uniform", "plb")} == {0.3}
    assert recipes["symmetric-20", "plb"].batch_size == 16
    assert recipes["clean", "plb"] == study.recipe


MISTAKES = {
    "an unknown study": ("noisy-lables", [], "unknown study 'noisy-lables'; did you mean 'noisy-labels'?"),
    "an unknown recipe": ("noisy-labels", ["recipe=digit-cnn"], "unknown recipe 'digit-cnn'; did you mean 'digits-cnn'?"),
    "an unknown sampler": ("noisy-labels", ["samplers=uniform,pbl"], "unknown sampler 'pbl'; did you mean 'plb'?"),
    "an unknown scenario": ("noisy-labels", ["scenarios=simmetric-40"], "did you mean 'symmetric-40'?"),
    "an unknown key": ("noisy-labels", ["seed=3"], "unknown key 'seed'; did you mean 'seeds'?"),
    "an unknown recipe key": ("noisy-labels", ["recipe.lrr=3"], "unknown key 'recipe.lrr'; did you mean 'lr'?"),
    "an unknown nested key": ("noisy-labels", ["recipe.augment.flp=true"], "did you mean 'flip'?"),
    "an unknown arm": ("noisy-labels", ["samplers.plbb.refresh=post"], "did you mean 'plb'?"),
    "settings of a plain value": ("noisy-labels", ["recipe.lr.value=3"], "'lr' has no settings of its own"),
    "no seeds": ("noisy-labels", ["seeds=0"], "seeds=0 is not possible"),
    "a seed twice": ("noisy-labels", ["seeds=[1, 1]"], "named twice"),
    "seeds that are words": ("noisy-labels", ["seeds=many"], "seeds='many' is not possible"),
    "a negative budget": ("noisy-labels", ["budget=-1"], "budget.amount=-1.0 is not possible"),
    "an infinite budget": ("noisy-labels", ["budget=.inf"], "budget.amount=inf is not possible"),
    "a budget in hours": ("noisy-labels", ["budget=3 hours"], "'epochs', 'steps', 'backwards' or 'seconds'"),
    "a budget of words": ("noisy-labels", ["budget=much"], "500 steps"),
    "a rate above 1": ("noisy-labels", ["scenarios.symmetric-40.rate=1.5"], "rate=1.5 is not possible (allowed: 0 to 1)"),
    "a rate in words": ("noisy-labels", ["scenarios.symmetric-40.rate=high"], "must be a number"),
    "an unknown hyperparameter": ("noisy-labels", ["samplers.plb.warmup_epoch=1"], "did you mean 'warmup_epochs'?"),
    "an unknown choice": ("noisy-labels", ["samplers.plb.refresh=later"], "allowed: pre | post"),
    "a scenario's recipe with a slip": ("noisy-labels", ["scenarios.clean.recipe={lrr: 1}"], "'clean': unknown key 'recipe.lrr'"),
    "a scenario's own data": ("noisy-labels", ["scenarios.clean.recipe={data: mnist}"], "set recipe.data"),
    "a scenario's recipe in a word": ("noisy-labels", ["scenarios.clean.recipe=fast"], "must be a mapping"),
    "a limit below the mean": ("noisy-labels", ["samplers.plb.clip=0.5"], "clip=0.5 is not possible (allowed: > 1.0)"),
    "logits where none are kept": ("noisy-labels", ["samplers.owc.refresh=carry"], "allowed: pre | post"),
    "not an override": ("noisy-labels", ["seeds"], "'seeds' is not an override; write key=value"),
    "a value that does not parse": ("noisy-labels", ["seeds=[1,"], "does not parse"),
    "a missing file of a sampler": ("noisy-labels", ["samplers=gone.py:Gone"], "there is no file gone.py"),
    "a device of another maker": ("noisy-labels", ["device=tpu"], "'tpu' is not possible (allowed: auto, cpu, cuda"),
    "an endless warm-up": ("noisy-labels", ["samplers.plb.warmup_epochs=.inf"], "warmup_epochs=inf is not possible"),
    "a million seeds": ("noisy-labels", ["seeds=100000000000"], "1 to 10000"),
    "seeds in quotes": ("noisy-labels", ["seeds='3'"], "a whole number, or a list of them"),
    "a batch beyond all bounds": ("noisy-labels", ["recipe.batch_size=10000000000000000000000"], "recipe.batch_size="),
    "a name that leaves the folder": ("noisy-labels", ["name=../../x"], "no slashes"),
    "a missing study file": ("gone.yaml", [], "there is no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_answered_in_one_line(mistake: str) -> None:
    name, overrides, answer = MISTAKES[mistake]
    with pytest.raises(UserError) as told:
        plan(load_study(name, overrides), Path("somewhere"))
    assert answer in str(told.value)
    assert "\n" not in str(told.value)


STUDIES = {
    "recipe: digits-cnn\nsamplers: {uniform: }\nscenarios: {clean: }\nrecipe: [": "does not parse",
    "recipe: digits-cnn\nscenarios: {clean: }": "has no samplers",
    "recipe: digits-cnn\nsamplers: {}\nscenarios: {clean: }": "has no samplers",
    "recipe: digits-cnn\nsamplers: {uniform: }": "has no scenarios",
    "recipe: digits-cnn\nsamplers: [uniform]\nscenarios: {clean: }": "must be a mapping",
    "samplers: {uniform: }\nscenarios: {clean: }": "'recipe' is missing",
    "- a\n- list": "must be a mapping",
    "recipe: {data: digits}\nsamplers: {uniform: }\nscenarios: {clean: }": "is missing",
    "\x00": "does not parse",
}


@pytest.mark.parametrize("text", STUDIES)
def test_each_broken_study_file_is_answered_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as told:
        load_study(str(path))
    assert STUDIES[text] in str(told.value)
    assert "\n" not in str(told.value)


PLUGINS = {
    "import nothing_of_that_name": "does not import: ModuleNotFoundError",
    "def broken(": "does not import: SyntaxError",
    "class Other: pass": "defines no class 'Mine'",
    "import sys; sys.exit(3)": "does not import: SystemExit",
    "class Mine: pass": "is not a subclass of robuststream.contracts.Sampler",
}


@pytest.mark.parametrize("text", PLUGINS)
def test_each_broken_plugin_file_is_answered_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError) as told:
        plan(load_study("noisy-labels", [f"samplers=uniform,{path}:Mine"]), Path("somewhere"))
    assert PLUGINS[text] in str(told.value)
    assert "\n" not in str(told.value)


def test_underscores_and_hyphens_name_the_same() -> None:
    study = load_study("noisy-labels", ["samplers=uniform,selective_backprop"])
    assert [s.label for s in study.samplers] == ["uniform", "selective-backprop"]


def test_a_label_may_not_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("recipe: digits-cnn\nsamplers: {1: {kind: plb}, '1': {kind: peb}}\nscenarios: {clean: }\n")
    with pytest.raises(UserError, match="the label '1' twice"):
        load_study(str(path))


def test_two_and_two_point_nought_are_one_setting() -> None:
    names = {
        plan(load_study("noisy-labels", ["samplers=plb", f"samplers.plb.warmup_epochs={value}"]), Path("x"))[0].name
        for value in ("2", "2.0")
    }
    assert len(names) == 1


def test_a_third_party_cannot_hide_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint(name, "elsewhere:Thing", "robuststream.samplers") for name in ("uniform", "my_mine")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "robuststream.samplers" else [])
    assert registry.load("samplers", "uniform", Sampler).__module__ == "robuststream.samplers.uniform"
    assert "my-mine" in registry.names("samplers")
    with pytest.raises(UserError, match=r"sampler 'my_mine' does not import: ModuleNotFoundError"):
        registry.load("samplers", "my_mine", Sampler)


def test_changed_code_or_labels_make_new_runs(tmp_path: Path) -> None:
    """A sampler under development must not be answered with the runs of its yesterday's code."""
    code = (
        "from dataclasses import dataclass\nfrom robuststream.samplers import Streaming\n\n@dataclass\nclass Mine(Streaming):\n"
    )
    path, labels = tmp_path / "mine.py", tmp_path / "labels.txt"
    overrides = [f"samplers={path}:Mine", "scenarios=label-noise", "scenarios.label-noise.noise=file"]
    names = []
    for body, given in (("signals.loss", "0\n"), ("signals.loss", "0\n"), ("signals.entropy", "0\n"), ("signals.entropy", "1\n")):
        path.write_text(f"{code}    def fresh_values(self, signals):\n        return {body}\n")
        labels.write_text(given)
        names.append(plan(load_study("noisy-labels", [*overrides, f"scenarios.label-noise.file={labels}"]), tmp_path)[0].name)
    assert names[0] == names[1]
    assert len(set(names)) == 3
