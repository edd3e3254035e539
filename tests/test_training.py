"""The trainer: bits repeat, resumed runs equal undisturbed ones, everything is charged, the clock adds up."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from _runs import settings, without_time
from robuststream import records, registry
from robuststream.config import Budget, RunSettings
from robuststream.contracts import Batch, Scenario
from robuststream.errors import UserError
from robuststream.models._build import build
from robuststream.samplers.uniform import Uniform
from robuststream.training import loop
from robuststream.training.blueprint import Blueprint, channel_statistics
from robuststream.training.clock import OFF_CLOCK, PHASES
from robuststream.training.diagnostics import PANEL, concordance
from robuststream.training.ledger import Cost, Ledger
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.optimizers import learning_rate
from robuststream.training.step import take_step
from robuststream.training.streams import PURPOSES, stream_seed
from robuststream.training.world import build_world

SAMPLERS = registry.names("samplers")


def evaluations(folder: Path) -> list[dict[str, Any]]:
    return [without_time(record) for record in records.read_evaluations(folder / "records.jsonl")]


LONGER = {"rho-loss": ["budget=9"], "divbs": ["budget=9"]}
"""What it takes for a run of several steps: one learns with its companions first, one probes ten times what it learns."""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_repeats_bit_for_bit(sampler: str, tmp_path: Path) -> None:
    run = settings(sampler, "symmetric-40", *LONGER.get(sampler, []))
    once, twice = (train(run, make(tmp_path / name)) for name in ("a", "b"))
    assert without_time(once) == without_time(twice)
    assert evaluations(tmp_path / "a") == evaluations(tmp_path / "b")
    assert len(evaluations(tmp_path / "a")) >= 4


@pytest.mark.parametrize("stop_after", [1, 5])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_stopped_run_ends_as_an_undisturbed_one(sampler: str, stop_after: int, tmp_path: Path) -> None:
    run = settings(sampler, "symmetric-40", "recipe.augment.crop=1", "recipe.model=paper-cnn", *LONGER.get(sampler, []))
    if sampler == "plb":
        run = settings(sampler, "symmetric-40", "samplers.plb.refresh=post", "recipe.probe_mode=train", "recipe.model=paper-cnn")
    undisturbed = train(run, make(tmp_path / "a"))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > stop_after

    with pytest.raises(Stopped):
        train(run, make(tmp_path / "b"), Watch(stop=stop))
    assert not (tmp_path / "b" / "result.json").exists()
    records.append_record(tmp_path / "b" / "records.jsonl", {"step": "written by a process that was then killed"})
    assert without_time(train(run, tmp_path / "b")) == without_time(undisturbed)
    assert evaluations(tmp_path / "b") == evaluations(tmp_path / "a")
    assert not (tmp_path / "b" / "checkpoint.pt").exists()


HOSTILE = ["backdoor", "corruptions", "duplicates", "long-tail", "open-set", "poisoned"]
"""Beside those that attack while the run trains (test_adversarial) and those that are mixed (test_hostile_data)."""


@pytest.mark.parametrize("scenario", HOSTILE)
def test_a_stopped_run_in_a_hostile_world_ends_as_an_undisturbed_one(scenario: str, tmp_path: Path) -> None:
    run = settings("plb", scenario)
    undisturbed = train(run, make(tmp_path / "a"))
    asked = iter(range(10**6))
    with pytest.raises(Stopped):
        train(run, make(tmp_path / "b"), Watch(stop=lambda: next(asked) > 1))
    assert without_time(train(run, tmp_path / "b")) == without_time(undisturbed)
    assert evaluations(tmp_path / "b") == evaluations(tmp_path / "a")


def test_every_scenario_is_stopped_and_resumed_in_some_test() -> None:
    attacking = {name for name in registry.names("scenarios") if name.startswith("adversarial-")}
    assert {*HOSTILE, *attacking, "clean", "label-noise", "mixed"} == set(registry.names("scenarios"))


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one = train(settings("uniform", "clean", "seeds=[0]"), make(tmp_path / "a"))
    other = train(settings("uniform", "clean", "seeds=[1]"), make(tmp_path / "b"))
    assert without_time(one) != without_time(other)
    assert evaluations(tmp_path / "a") != evaluations(tmp_path / "b")


def test_arms_of_a_seed_share_split_init_and_noise() -> None:
    worlds = [build_world(settings(sampler, "symmetric-40")) for sampler in ("uniform", "plb")]
    first, second = worlds
    assert first.facts == second.facts
    for name, value in first.bare.state_dict().items():
        assert torch.equal(value, second.bare.state_dict()[name])
    assert first.pool.seed == second.pool.seed


def test_streams_are_separate() -> None:
    seeds = {stream_seed(seed, purpose) for seed in range(50) for purpose in PURPOSES}
    assert len(seeds) == 50 * len(PURPOSES)


# -- the ledger --------------------------------------------------------------------------------------------------------------


def test_flops_are_those_of_the_layers() -> None:
    """An MLP by hand: 2 m k n FLOPs per product; backward needs no gradient of the input."""
    network = build(
        "mlp",
        {"hidden": 5, "layers": 1},
        shape=(1, 2, 3),
        num_classes=4,
        mean=torch.zeros(1),
        std=torch.ones(1),
        init_seed=0,
        dropout_generator=torch.Generator(),
        device="cpu",
    )
    cost = Cost.of(network, torch.zeros(7, 1, 2, 3))
    assert cost.forward == 2 * (6 * 5 + 5 * 4)
    assert cost.backward == 2 * (6 * 5 + 5 * 4 + 5 * 4)


@pytest.mark.parametrize("model", registry.names("models"))
def test_flops_are_those_that_torch_counts(model: str) -> None:
    run = settings("uniform", "clean", f"recipe.model={model}")
    blueprint = Blueprint(run.recipe, (3, 32, 32), 10, torch.zeros(3), torch.ones(3), torch.device("cpu"))
    images = torch.zeros(2, 3, 32, 32)
    network = blueprint.network(0, torch.Generator())
    with FlopCounterMode(display=False) as forward:
        network(images)
    with FlopCounterMode(display=False) as both:
        network(images).sum().backward()
    cost = Cost.of(network, images)
    assert cost.forward == forward.get_total_flops() / 2
    assert cost.forward + cost.backward == both.get_total_flops() / 2


@pytest.mark.parametrize(("sampler", "probes"), [("uniform", 0), ("plb", 1), ("kakurenbo", 0), ("selective-backprop", 2)])
def test_every_forward_is_charged(sampler: str, probes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the examples that really pass through the network's first layer, train and evaluation apart, beside the ledger."""
    run = settings(sampler)
    passed = {"charged": 0, "backwards": 0, "free": 0}
    world = build_world(run)

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        free = world.clock.account in OFF_CLOCK
        passed["free" if free else "charged"] += len(inputs[0])
        passed["backwards"] += len(inputs[0]) if torch.is_grad_enabled() else 0

    world.bare.register_forward_pre_hook(count)
    monkeypatch.setattr(loop, "build_world", lambda run: world)
    totals = train(run, make(tmp_path / "run"))["totals"]
    assert sum(totals["forwards"].values()) == passed["charged"]
    assert totals["backwards"] == passed["backwards"] == totals["forwards"]["train"]
    assert passed["free"] > 0
    n_probed = totals["forwards"]["probe"]
    assert n_probed == 200 if sampler == "plb" else n_probed == 0 if probes == 0 and sampler == "uniform" else n_probed >= 0
    expected = totals["flops_per_forward"] * passed["charged"] + totals["flops_per_backward"] * passed["backwards"]
    assert totals["flops"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("budget", "check"),
    [
        ("7 steps", lambda totals: totals["steps"] == 7),
        ("100 backwards", lambda totals: totals["backwards"] == 128),  # the first whole mini-batch of 32 at or past 100
        ("2", lambda totals: totals["backwards"] == 416 and totals["budget_flops"] <= totals["flops"]),  # 13 steps of 32 >= 400
        ("0.05 seconds", lambda totals: totals["steps"] >= 1),
    ],
)
def test_budgets(budget: str, check: Any, tmp_path: Path) -> None:
    assert check(train(settings("uniform", "clean", f"budget={budget}"), make(tmp_path / "run"))["totals"])


def test_a_probe_costs_steps() -> None:
    """Under one budget PLB's first values leave fewer steps than uniform has (N forwards are a third of an epoch)."""
    cost = Cost(forward=1.0, backward=2.0)
    ledger = Ledger(Budget(amount=2.0, unit="epochs"), cost, 90, lambda: 0.0)
    ledger.charge("probe", 90, backward=False)
    assert ledger.spent == pytest.approx(90 / (2 * 90 * 3))
    ledger.charge("train", 150, backward=True)
    assert ledger.spent == pytest.approx(1.0)


def test_the_learning_rate_follows_the_spent_share() -> None:
    cosine = settings("uniform", "clean", "recipe.lr=0.5", "recipe.lr_warmup=0.2").recipe
    assert [learning_rate(cosine, t) for t in (0.0, 0.1, 0.2, 0.6)] == pytest.approx([0.0, 0.25, 0.5, 0.25])
    assert learning_rate(cosine, 1.0) == pytest.approx(0.0)
    linear = settings("uniform", "clean", "recipe.lr=0.5", "recipe.schedule=linear").recipe
    assert [learning_rate(linear, t) for t in (0.0, 0.5, 1.0, 1.2)] == pytest.approx([0.5, 0.25, 0.0, 0.0])
    constant = settings("uniform", "clean", "recipe.lr=0.5", "recipe.schedule=constant").recipe
    assert learning_rate(constant, 0.9) == 0.5


@pytest.mark.parametrize("sampler", ["uniform", "kakurenbo", "plb"])
def test_every_arm_ends_decayed(sampler: str, tmp_path: Path) -> None:
    train(settings(sampler), make(tmp_path / "run"))
    rates = [record["lr"] for record in evaluations(tmp_path / "run")]
    assert rates[-1] < 0.05 * max(rates)


# -- the clock ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_phases_add_up_to_the_wall(sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against an independent watch around the whole run: phases and off-clock accounts leave under 1 % unexplained."""
    watch: dict[str, float] = {}

    class Watched(loop._Run):
        def __init__(self, *args: Any) -> None:
            watch["began"] = time.perf_counter()
            super().__init__(*args)

        def execute(self) -> dict[str, Any]:
            result = super().execute()
            watch["ended"] = time.perf_counter()
            return result

    monkeypatch.setattr(loop, "_Run", Watched)
    unexplained = []
    for attempt in range(3):  # a busy machine may take the processor away between our watch and the run's own clock
        seconds = train(settings(sampler, "clean", "budget=10"), make(tmp_path / str(attempt)))["seconds"]
        wall = watch["ended"] - watch["began"]
        assert set(seconds["phases"]) == set(PHASES)
        assert sum(seconds["phases"].values()) == pytest.approx(seconds["train"])
        accounted = seconds["train"] + sum(seconds[account] for account in OFF_CLOCK)
        assert accounted <= wall
        unexplained.append(1.0 - accounted / wall)
    assert min(unexplained) < 0.01


def test_evaluation_is_off_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = loop.score
    monkeypatch.setattr(loop, "score", lambda *args: time.sleep(0.2) or slow(*args))
    result = train(settings("uniform", "clean", "budget=5 steps"), make(tmp_path / "run"))
    assert result["seconds"]["evaluation"] > 0.4
    assert result["seconds"]["train"] < 0.2


# -- what is learned from ----------------------------------------------------------------------------------------------------


def test_weights_multiply_losses_and_scales_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weight 2 at half the rate is weight 1 (plain SGD): the same network comes out; weight 0 learns nothing."""

    def run(weight: float, scale: float, name: str) -> list[dict[str, Any]]:
        def draw(self: Uniform, probe: Any, progress: float) -> Batch:
            index = self.deck_.deal(32, lambda: self.pool.everyone)
            return Batch(index, torch.full((32,), weight), scale)

        monkeypatch.setattr(Uniform, "draw", draw)
        plain = ("recipe.momentum=0", "recipe.weight_decay=0", "recipe.lr=0.125")
        train(settings("uniform", "clean", *plain), make(tmp_path / name))
        return evaluations(tmp_path / name)

    one, twice, none = run(1.0, 1.0, "one"), run(2.0, 0.5, "twice"), run(0.0, 1.0, "none")
    assert [r["validation_loss"] for r in one] == pytest.approx([r["validation_loss"] for r in twice], rel=1e-5)
    assert len({r["validation_loss"] for r in none}) == 1
    assert len({r["validation_loss"] for r in one}) > 1


def test_a_scenario_that_perturbs_is_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def perturb(self: Scenario, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).logsumexp(1).sum(), images)
        return (images + 0.1 * gradient.sign()).clamp(0, 1).detach()

    monkeypatch.setattr(registry.load("scenarios", "clean", Scenario), "perturb", perturb)
    totals = train(settings("uniform", "clean"), make(tmp_path / "run"))["totals"]
    assert totals["forwards"]["perturb"] == totals["forwards"]["train"] == totals["backwards"] // 2


# -- rules of fair measurement -----------------------------------------------------------------------------------------------


def test_the_test_set_is_read_once() -> None:
    world = build_world(settings())
    weights = [world.bare.state_dict()]
    world.test.read(world.bare, weights, world.scenario)
    with pytest.raises(RuntimeError, match="read once"):
        world.test.read(world.bare, weights, world.scenario)


def test_a_plugin_that_draws_globally_fails_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uniform, "observe", lambda self, signals: torch.rand(1))
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"'uniform'.*torch's global generator"):
        train(settings(), make(tmp_path / "run"))
    torch.set_rng_state(state)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_damaged_checkpoint_is_put_aside_and_the_run_begins_anew(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    (folder / "checkpoint.pt").write_bytes(b"torn")
    (folder / "records.jsonl").write_text('{"step": 0}\nnot a record\n')
    assert train(settings(), folder)["totals"]["steps"] > 0
    assert (folder / "checkpoint.damaged").read_bytes() == b"torn"
    assert evaluations(folder)[0]["step"] == 0


def test_an_empty_minibatch_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uniform, "draw", lambda self, probe, progress: Batch(self.pool.everyone[:0]))
    with pytest.raises(UserError, match="Uniform drew an empty mini-batch"):
        train(settings(), make(tmp_path / "run"))


def test_noise_leaves_validation_and_test_clean() -> None:
    noisy, clean = build_world(settings("uniform", "symmetric-40")), build_world(settings("uniform", "clean"))
    assert torch.equal(noisy.validation.labels, clean.validation.labels)
    assert noisy.facts["labels"]["wrong"] == 80
    assert clean.facts["labels"]["wrong"] == 0
    matrix = torch.tensor(noisy.facts["labels"]["matrix"])
    assert matrix.sum() == 200
    assert matrix.sum() - matrix.diagonal().sum() == 80


def test_a_diverging_run_is_recorded(tmp_path: Path) -> None:
    result = train(settings("plb", "clean", "recipe.lr=1e12"), make(tmp_path / "run"))
    assert result["diverged"]
    for record in evaluations(tmp_path / "run"):
        json.dumps(record, allow_nan=False)


# -- diagnostics -------------------------------------------------------------------------------------------------------------


def test_concordance_is_the_auc_form_of_kendalls_tau() -> None:
    generator = torch.Generator().manual_seed(0)
    stored, fresh = torch.rand(40, generator=generator).double(), torch.rand(40, generator=generator).double()
    stored[3] = stored[7]
    fresh[5] = fresh[9]
    pairs = torch.combinations(torch.arange(40)).T
    expected = [
        0.5 if stored[i] == stored[j] else float((stored[i] < stored[j]) == (fresh[i] < fresh[j]))
        for i, j in pairs.T.tolist()
        if fresh[i] != fresh[j]
    ]
    assert concordance(stored, fresh, pairs) == pytest.approx(sum(expected) / len(expected))
    assert concordance(fresh, fresh, pairs) == 1.0
    assert concordance(-fresh, fresh, pairs) == 0.0
    assert concordance(stored, torch.ones(40), pairs) is None


def test_diagnostics_of_uniform(tmp_path: Path) -> None:
    train(settings("uniform", "symmetric-40"), make(tmp_path / "run"))
    last = evaluations(tmp_path / "run")[-1]
    assert last["ess"] == pytest.approx(1.0)
    assert last["enrichment"] == pytest.approx(1.0, abs=0.15)
    assert last["coverage"] > 0.8
    assert last["concordance"] is None
    assert 0 <= last["age"] <= 200 / 32
    assert 0 <= last["memorised"] <= 1


def test_diagnostics_of_a_storing_sampler(tmp_path: Path) -> None:
    train(settings("plb", "symmetric-40", "recipe.train_size=600", "budget=10"), make(tmp_path / "run"))
    recorded = evaluations(tmp_path / "run")
    assert recorded[-1]["enrichment"] > 1.1  # losses of wrong labels are larger, so they are drawn more often
    assert recorded[-1]["ess"] < 0.95
    assert 0.4 < recorded[-1]["concordance"] <= 1.0
    assert recorded[-1]["age"] > 0
    histogram = recorded[-1]["histogram"]
    assert sum(histogram["stored"]) == sum(histogram["fresh"]) == PANEL
    assert sum("histogram" in record for record in recorded) == 3


def test_the_age_of_an_example_is_that_of_its_last_forward_pass() -> None:
    run = settings("plb", "symmetric-40")
    world = build_world(run)
    world.network.train()
    world.sampler.start(world.pool, world.probe)
    last = torch.zeros(world.pool.size, dtype=torch.int64)
    for _ in range(3):
        for _ in range(20):
            take_step(world, run.recipe)
        world.probe(torch.arange(10))
        for step, index in sorted(
            [*zip(world.diagnostics.steps, world.diagnostics.drawn, strict=True), *world.probe.asked], key=lambda pair: pair[0]
        ):
            for place in index.tolist():
                last[place] = step
        found = world.diagnostics.measure(world.bare, world.ledger.steps, False)
        assert torch.equal(world.diagnostics.last_seen, last)
        assert found["age"] == (world.ledger.steps - last).double().mean()


def test_channel_statistics_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 256, (20, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = channel_statistics(images)
    scaled = images.double().permute(1, 0, 2, 3).flatten(1) / 255
    assert mean.tolist() == pytest.approx(scaled.mean(1).tolist())
    assert std.tolist() == pytest.approx(scaled.std(1, correction=0).tolist())


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_identity_is_of_the_full_settings() -> None:
    base = settings("plb")
    same = RunSettings.model_validate(json.loads(json.dumps(base.model_dump())))
    assert records.identity(same.model_dump()) == records.identity(base.model_dump())
    for override in ("samplers.plb.refresh=post", "recipe.lr=0.03", "budget=4", "seeds=[1]"):
        assert records.identity(settings("plb", "clean", override).model_dump()) != records.identity(base.model_dump())
    assert not math.isnan(base.recipe.lr)
