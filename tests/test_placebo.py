"""Placebos (rule 9): a selector's own shares, thresholds and costs, with chance in the place of what it knows."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from _runs import settings, without_time
from robuststream import records, registry
from robuststream.checks import CHECKS
from robuststream.config import RunSettings
from robuststream.contracts import Batch, Pool, Probe, Sampler, Signals
from robuststream.errors import UserError
from robuststream.samplers import Deck
from robuststream.samplers._placebo import Placebo, dealt
from robuststream.studies import load_study
from robuststream.study.plan import plan, with_placebos
from robuststream.training.loop import Stopped, Watch, train

N, K, BATCH, EPOCHS = 600, 4, 20, 8
SELECTORS = sorted(set(registry.names("samplers")) - {"uniform"})


@dataclass
class FrozenWorld:
    """A pool whose signals never change, so that whatever a sampler and its placebo do differently is the placebo's doing."""

    seed: int = 0
    probed: int = 0

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(100 + self.seed)
        self.logits = 2.0 * torch.randn((N, K), generator=generator)
        self.labels = torch.randint(K, (N,), generator=generator)
        self.pool = Pool(N, BATCH, K, self.labels, self.seed)

    def __call__(self, index: Tensor, mode: Literal["eval", "train"] | None = None) -> Signals:
        self.probed += len(index)
        return Signals.of(index, self.labels[index], self.logits[index])

    @property
    def loss(self) -> Tensor:
        return Signals.of(self.pool.everyone, self.labels, self.logits).loss

    def run(self, sampler: Sampler, steps: int = EPOCHS * N // BATCH, seen: Callable[[], object] = lambda: None) -> list[Batch]:
        sampler.start(self.pool, self)  # type: ignore[arg-type]
        drawn = []
        for step in range(steps):
            drawn.append(sampler.draw(self, step / steps))  # type: ignore[arg-type]
            index = drawn[-1].index
            sampler.observe(Signals.of(index, self.labels[index], self.logits[index]))
            seen()
        return drawn


def placebo_of(sampler: Sampler, seed: int = 7) -> Placebo:
    return Placebo(sampler, torch.Generator().manual_seed(seed))


def make(name: str, **given: object) -> Sampler:
    return registry.load("samplers", name, Sampler)(**given)


@dataclass
class PrunesBelowTheMean(Sampler):
    """In the manner of InfoBatch: of the losses below their mean a share of a half is left out, the others count double."""

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        self.deck_ = Deck(self.generator_)
        self.loss_ = torch.full((pool.size,), torch.inf)
        self.below: list[int] = []

    def draw(self, probe: Probe, progress: float) -> Batch:
        return Batch(self.deck_.deal(self.pool.batch_size, self._members))

    def observe(self, signals: Signals) -> None:
        self.loss_[signals.index] = signals.loss

    def _members(self) -> Tensor:
        low = self.loss_ < self.loss_.mean() if self.loss_.isfinite().all() else torch.zeros_like(self.loss_, dtype=torch.bool)
        self.below.append(int(low.sum()))
        return ((~low) | (torch.rand(len(low), generator=self.generator_) < 0.5)).nonzero().squeeze(1)


# What is dealt


def test_rows_move_whole_and_every_example_keeps_its_place() -> None:
    world = FrozenWorld()
    index = torch.randperm(N)[:50]
    before = world(index)
    after = dealt(before, torch.Generator().manual_seed(1))
    assert torch.equal(after.index, index)
    rows = {float(loss): row for row, loss in enumerate(before.loss)}
    source = torch.tensor([rows[float(loss)] for loss in after.loss])
    assert sorted(source.tolist()) == list(range(50))
    assert torch.equal(after.logits, before.logits[source])
    assert torch.equal(after.labels, before.labels[source])


def test_an_example_drawn_twice_is_dealt_one_row_and_each_row_goes_to_one_example() -> None:
    world = FrozenWorld()
    index = torch.tensor([5, 9, 5, 2, 9, 9, 40, 41])
    for seed in range(30):
        after = dealt(world(index), torch.Generator().manual_seed(seed))
        given = {int(i): float(loss) for i, loss in zip(index, after.loss, strict=True)}
        assert all(given[int(i)] == float(loss) for i, loss in zip(index, after.loss, strict=True))
        assert sorted(given.values()) == sorted(set(world(index).loss.tolist()))


def test_every_deal_is_as_likely() -> None:
    world, generator = FrozenWorld(), torch.Generator().manual_seed(0)
    signals = world(torch.tensor([3, 1, 2]))
    counts = Counter(tuple(dealt(signals, generator).loss.tolist()) for _ in range(3000))
    assert set(counts) == set(itertools.permutations(signals.loss.tolist()))
    assert max(counts.values()) < 1.2 * 500 and min(counts.values()) > 0.8 * 500  # noqa: PT018 -- 5 sd


# The shares are the selector's own


def test_kakurenbo_hides_as_many_in_every_epoch_and_others() -> None:
    hidden = [hidden_by_epoch(wrap) for wrap in (lambda sampler: sampler, placebo_of)]
    ours, theirs = ([len(epoch) for epoch in own.values()] for own in hidden)
    assert ours[:2] == theirs[:2]  # with frozen signals the multiset over the pool is the same, so is what is counted in it
    assert ours[1] > 60
    # Later a mini-batch that spans two epochs is seen a little late, by either.
    assert all(abs(a - b) <= 0.1 * a for a, b in zip(ours[2:], theirs[2:], strict=False))
    overlap = len(hidden[0][3] & hidden[1][3]) / len(hidden[1][3])
    assert overlap == pytest.approx(ours[3] / N, abs=0.15)  # no more than chance


def hidden_by_epoch(wrap: Callable[[Sampler], Sampler]) -> dict[int, set[int]]:
    sampler = make("kakurenbo")
    found: dict[int, set[int]] = {}
    FrozenWorld().run(wrap(sampler), seen=lambda: found.update({sampler.deck_.epochs: set(sampler.hidden_.tolist())}))  # type: ignore[attr-defined]
    return found


def test_pruning_below_the_mean_prunes_as_many() -> None:
    genuine, inner = PrunesBelowTheMean(), PrunesBelowTheMean()
    FrozenWorld().run(genuine)
    FrozenWorld().run(placebo_of(inner))
    assert genuine.below[1] == inner.below[1] > 100
    later = [sum(sampler.below[2:6]) / 4 for sampler in (genuine, inner)]
    assert later[1] == pytest.approx(later[0], rel=0.15)


def test_selective_backprop_keeps_as_many_of_its_candidates() -> None:
    shares = []
    for wrap in (lambda sampler: sampler, placebo_of):
        world = FrozenWorld()
        drawn = world.run(wrap(make("selective-backprop")), steps=150)
        shares.append(len(drawn) * BATCH / world.probed)
    assert shares[1] == pytest.approx(shares[0], rel=0.05)
    assert 0.4 < shares[0] < 0.6


@pytest.mark.parametrize("name", ["plb", "peb"])
def test_base_values_are_the_same_set_when_the_stream_begins(name: str) -> None:
    values = []
    for wrap in (lambda sampler: sampler, placebo_of):
        world, sampler = FrozenWorld(), wrap(make(name, warmup_epochs=1.0))
        world.run(sampler, steps=N // BATCH)
        sampler.draw(world, 0.2)  # type: ignore[arg-type]
        values.append(sampler.stored_values())
    assert torch.allclose(values[0].sort().values, values[1].sort().values)
    assert not torch.allclose(values[0], values[1])


def test_a_placebo_knows_nothing_of_who_is_difficult() -> None:
    known = []
    for wrap in (lambda sampler: sampler, placebo_of):
        world, sampler = FrozenWorld(), wrap(make("plb"))
        drawn = torch.cat([batch.index for batch in world.run(sampler)[N // BATCH :]])
        known.append(float(world.loss[drawn].mean() / world.loss.mean()))
        values = sampler.stored_values()
        assert values is not None
        known.append(float(torch.corrcoef(torch.stack([values, world.loss]))[0, 1]))
    assert known[0] > 1.5
    assert known[1] > 0.99
    assert known[2] == pytest.approx(1.0, abs=0.05)
    assert abs(known[3]) < 0.2


def test_labels_of_the_pool_are_dealt_too() -> None:
    inner = make("plb")
    world = FrozenWorld()
    placebo_of(inner).start(world.pool, world)  # type: ignore[arg-type]
    assert torch.equal(inner.pool.labels.bincount(), world.labels.bincount())
    assert float((inner.pool.labels == world.labels).double().mean()) == pytest.approx(1 / K, abs=0.1)


# In the contract


DRAWING = ("legal-draws", "never-waits-for-host", "resumes-bit-equal")


@pytest.mark.parametrize("name", SELECTORS)
def test_the_placebo_of_every_selector_keeps_the_contract(name: str) -> None:
    cls = registry.load("samplers", name, Sampler)
    if not cls().selects:
        pytest.skip("selects nothing")
    for check in DRAWING:
        CHECKS[check](lambda: placebo_of(cls()))


@pytest.mark.parametrize("name", ["plb", "rho-loss"])
def test_a_stopped_placebo_ends_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    run = placebo_run(name)
    whole = run_in(run, tmp_path / "whole")
    steps = itertools.count()
    with pytest.raises(Stopped):
        run_in(run, tmp_path / "cut", Watch(stop=lambda: next(steps) == 1))
    assert without_time(run_in(run, tmp_path / "cut")) == without_time(whole)


def run_in(run: RunSettings, folder: Path, watch: Watch | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return train(run, folder, watch)


def placebo_run(name: str, scenario: str = "clean", *overrides: str) -> RunSettings:
    run = settings(name, scenario, *overrides)
    return run.model_copy(update={"sampler": run.sampler.model_copy(update={"placebo": True})})


@pytest.mark.parametrize("name", ["kakurenbo", "peb", "selective-backprop", "proxy"])
def test_a_placebo_is_charged_what_its_selector_is(name: str, tmp_path: Path) -> None:
    totals = [run_in(run, tmp_path / str(i))["totals"] for i, run in enumerate((settings(name), placebo_run(name)))]
    for kind in ("train", "probe"):
        assert totals[1]["forwards"][kind] == pytest.approx(totals[0]["forwards"][kind], rel=0.1)
    assert totals[1]["auxiliary"]["flops"] == pytest.approx(totals[0]["auxiliary"]["flops"], rel=0.1)


def test_a_placebo_draws_wrong_labels_as_often_as_they_occur(tmp_path: Path) -> None:
    overrides = ("recipe.train_size=1000", "budget=8")
    enrichment = []
    for place, run in enumerate((settings("plb", "symmetric-40", *overrides), placebo_run("plb", "symmetric-40", *overrides))):
        run_in(run, tmp_path / str(place))
        enrichment.append(records.read_evaluations(tmp_path / str(place) / "records.jsonl")[-1])
    assert enrichment[0]["enrichment"] > 1.3
    assert enrichment[1]["enrichment"] == pytest.approx(1.0, abs=0.1)
    assert enrichment[0]["concordance"] > 0.6
    assert enrichment[1]["concordance"] == pytest.approx(0.5, abs=0.06)  # stored values say nothing


# In a study


def test_a_study_asks_for_placebos_of_all_that_select() -> None:
    study = with_placebos(load_study("noisy-labels", ["samplers=uniform,plb,kakurenbo", "placebos=true"]))
    assert [plugin.label for plugin in study.samplers] == ["uniform", "plb", "plb-placebo", "kakurenbo", "kakurenbo-placebo"]
    assert [plugin.placebo for plugin in study.samplers] == [False, False, True, False, True]
    again = with_placebos(study)
    assert again == study  # a placebo is not given another
    assert study.samplers[2].given == study.samplers[1].given


def test_a_placebo_is_another_run_and_changes_no_other(tmp_path: Path) -> None:
    plain = {run.name for run in plan(load_study("noisy-labels", ["seeds=1"]), tmp_path)}
    study = with_placebos(load_study("noisy-labels", ["seeds=1", "placebos=true"]))
    names = {run.name for run in plan(study, tmp_path)}
    assert plain < names
    assert len(names) == len(plain) + 7 * 3
    ours = next(run.settings for run in plan(study, tmp_path) if run.settings.sampler.placebo)
    assert ours.model_dump()["sampler"]["placebo"] is True
    assert "placebo" not in settings().model_dump()["sampler"]


def test_one_placebo_may_be_named_by_hand_and_one_of_uniform_is_refused(tmp_path: Path) -> None:
    study = load_study("noisy-labels", ["samplers={uniform: {}, fake: {kind: plb, warmup_epochs: 2, placebo: true}}"])
    runs = plan(study, tmp_path)
    assert {run.settings.sampler.placebo for run in runs} == {False, True}
    with pytest.raises(UserError, match=r"samplers.uniform: placebo=true is not possible"):
        plan(load_study("noisy-labels", ["samplers.uniform.placebo=true"]), tmp_path)


def test_the_stream_of_a_placebo_is_its_own(tmp_path: Path) -> None:
    """The draws of the selector itself begin alike: warm-up of PLB and of its placebo present the same examples."""
    drawn = []
    for wrap in (lambda sampler: sampler, functools.partial(placebo_of, seed=3)):
        batches = FrozenWorld().run(wrap(make("plb")), steps=N // BATCH)
        drawn.append(torch.cat([batch.index for batch in batches]))
    assert torch.equal(*drawn)
    assert dataclasses.is_dataclass(make("plb"))


def test_an_arm_under_another_learner_has_a_placebo_of_its_own() -> None:
    arms = "{uniform: {}, plb: {}, chance: {kind: plb, placebo: true}, plb-gce: {kind: plb, learner: gce}}"
    study = with_placebos(load_study("noisy-labels", [f"samplers={arms}", "placebos=true"]))
    assert [arm.label for arm in study.samplers if arm.placebo] == ["chance", "plb-gce-placebo"]
