"""What the peers claim in distribution: gradients without bias, counts, bounds, and noise rates that nobody told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream import registry
from robuststream.contracts import Pool, Sampler, Signals
from robuststream.samplers.small_loss import noise_rate
from test_sampler_statistics import assert_follows, counts, started
from twins._world import Random, crafted

SIZE = 40


def losses() -> Tensor:
    """(40,) from 0.02 to 4 nats."""
    return torch.linspace(0.02, 4.0, SIZE)[torch.randperm(SIZE, generator=torch.Generator().manual_seed(1))]


def two_class_logits(loss: Tensor) -> Tensor:
    """(N, 2) under label 0, with these losses."""
    return torch.stack([-loss, torch.log(-torch.expm1(-loss))], 1)


def weighted_means(sampler: Sampler, probe: Any, quantity: Tensor, steps: int) -> np.ndarray:
    """(steps,) the mean over each mini-batch of weight x quantity: what the gradient of a step estimates."""
    means = []
    for _ in range(steps):
        batch = sampler.draw(probe, 1.0)
        weight = torch.ones(len(batch.index)) if batch.weight is None else batch.weight
        means.append(float((weight * quantity[batch.index]).mean()))
    return np.array(means)


def assert_unbiased(estimates: np.ndarray, truth: float) -> None:
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / len(estimates) ** 0.5


def assert_biased(estimates: np.ndarray, truth: float) -> None:
    assert abs(estimates.mean() - truth) > 8 * estimates.std() / len(estimates) ** 0.5


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_prioritized_with_beta_1_is_unbiased_and_with_less_is_not(alpha: float, stratified: bool) -> None:
    """E[w x g] over draws by p_i is sum_i p_i (1 / N p_i) g_i = the mean of g: whatever stands for the gradient."""
    probe = crafted(losses())
    gradient = 1.0 + probe.loss  # larger where the loss is: what drawing by it overstates
    given = {"warmup_epochs": 0, "alpha": alpha, "stratified": stratified, "scale": "none"}
    truth = float(gradient.mean())
    assert_unbiased(weighted_means(started("prioritized", SIZE, SIZE, probe, **given), probe, gradient, 1000), truth)
    for beta in (0.0, 0.7):
        sampler = started("prioritized", SIZE, SIZE, probe, **given, beta_from=beta, beta_to=beta)
        assert_biased(weighted_means(sampler, probe, gradient, 1000), truth)


def test_prioritized_weights_the_rarest_of_a_mini_batch_with_1_and_draws_by_the_power() -> None:
    probe = crafted(losses())
    sampler = started("prioritized", SIZE, 10, probe, warmup_epochs=0)
    assert sampler.draw(probe, 0.5).weight.amax() == 1.0  # type: ignore[union-attr]
    power = (losses().double().numpy() + 1e-6) ** 0.6
    independent = started("prioritized", SIZE, SIZE, probe, warmup_epochs=0, stratified=False)
    assert_follows(counts(independent, probe, 400), power / power.sum())


def test_prioritized_without_its_additions_is_plb_bit_for_bit() -> None:
    plain = {"alpha": 1, "beta_from": 0, "beta_to": 0, "epsilon": 0, "stratified": False, "scale": "none"}
    one, two = Random(1.0), Random(1.0)
    ours, plb = started("prioritized", SIZE, 10, one, **plain), started("plb", SIZE, 10, two)
    for _ in range(50):
        a, b = ours.draw(one, 0.3), plb.draw(two, 0.3)
        assert a.index.tolist() == b.index.tolist()
        assert a.weight is None or a.weight.tolist() == [1.0] * 10
        ours.observe(one(a.index))
        plb.observe(two(b.index))


def test_katharopoulos_is_unbiased_where_it_is_on_and_cuts_the_variance_of_the_gradient_norm() -> None:
    loss = losses()
    probe = crafted(loss, two_class_logits(loss))
    norm = probe.signals(torch.arange(SIZE)).el2n
    sampler = started("katharopoulos", SIZE, SIZE, probe, threshold=0, presample=4.0)
    sampler.observe(probe.signals(torch.arange(10)))
    estimates = weighted_means(sampler, probe, norm, 1000)
    assert sampler.counters()["steps_of_importance_sampling"] == 1000
    assert_unbiased(estimates, float(norm.mean()))
    assert_unbiased(weighted_means(sampler, probe, 1.0 + loss, 1000), float((1.0 + loss).mean()))
    uniform = weighted_means(started("katharopoulos", SIZE, SIZE, probe, threshold=1e9), probe, norm, 1000)
    assert estimates.var() < uniform.var() / 2


@pytest.mark.parametrize(("hard", "on"), [(1.0, False), (0.05, True)])
def test_katharopoulos_begins_where_few_examples_hold_the_gradient(hard: float, on: bool) -> None:
    """tau is 1 / sqrt(share of hard ones) when the others have no gradient: 1 and 4.5, against 2."""
    easy_and_hard = torch.where(torch.arange(SIZE) < hard * SIZE, 3.0, 1e-6)
    probe = crafted(easy_and_hard, two_class_logits(easy_and_hard.double()).float())
    sampler = started("katharopoulos", SIZE, SIZE, probe)
    for _ in range(60):
        batch = sampler.draw(probe, 0.0)
        sampler.observe(probe.signals(torch.arange(SIZE)))
    assert (batch.weight is not None) == on
    assert bool(probe.asked) == on


@pytest.mark.parametrize("prune", [0.5, 0.8])
def test_infobatch_rescaling_keeps_the_sum_of_gradients_of_an_epoch(prune: float) -> None:
    """Over epochs: the weighted sum of what is dealt is that of the pool."""
    loss = losses()
    probe = crafted(loss)
    sampler = started("infobatch", SIZE, SIZE, probe, prune=prune)
    sampler.observe(probe.signals(torch.arange(SIZE)))
    sums, visits = [], np.zeros(SIZE)
    for _ in range(1500):
        dealt = sampler._next_epoch(0.0)  # type: ignore[attr-defined]
        sums.append(float((sampler.weight_ * loss)[dealt].sum()))  # type: ignore[attr-defined]
        visits[dealt.numpy()] += 1
    below = (loss < loss.mean()).numpy()
    kept = round((1 - prune) * below.sum())  # 10 and 4 of 20
    assert (visits[~below] == 1500).all()
    assert visits[below].sum() == 1500 * kept
    assert_unbiased(np.array(sums), float(loss.sum()))


def test_infobatch_leaves_nothing_out_at_the_end() -> None:
    probe = crafted(losses())
    sampler = started("infobatch", SIZE, 10, probe)
    for _ in range(8):
        sampler.observe(probe.signals(sampler.draw(probe, 0.0).index))
    late = [sampler.draw(probe, 0.9) for _ in range(12)]
    assert all(set(batch.weight.tolist()) == {1.0} for batch in late[4:])  # type: ignore[union-attr]


def test_online_batch_selection_draws_a_hundred_times_as_often_from_the_top() -> None:
    probe = crafted(losses())
    sampler = started("loshchilov-hutter", SIZE, SIZE, probe)
    for _ in range(1):
        sampler.observe(probe.signals(sampler.draw(probe, 0.0).index))
    rank = (-probe.loss).argsort().argsort().double().numpy()
    chance = 100.0 ** (-rank / SIZE)
    assert_follows(counts(sampler, probe, 400), chance / chance.sum())
    np.testing.assert_allclose(sampler.draw_probability(), chance / chance.sum(), rtol=1e-9)
    uniform = torch.cat([sampler.draw(probe, 1.0).index for _ in range(400)])
    assert_follows(torch.bincount(uniform, minlength=SIZE).numpy(), np.full(SIZE, 1 / SIZE))


def test_active_bias_draws_what_wavers_twice_as_often_as_uniform_at_most_half_uniformly() -> None:
    """Half of the pool wavers between probabilities .3 and .7, half stays at .9."""
    sampler = started("active-bias", SIZE, SIZE, None)
    for p in (0.3, 0.7, 0.3, 0.7):
        loss = torch.where(torch.arange(SIZE) < SIZE // 2, -np.log(p), -np.log(0.9)).float()
        sampler.observe(crafted(loss).signals(torch.arange(SIZE)))
    chance = np.where(np.arange(SIZE) < SIZE // 2, 1.5, 0.5) / SIZE
    np.testing.assert_allclose(sampler.draw_probability(), chance, rtol=1e-4)
    drawn = torch.cat([sampler.draw(None, 0.5).index for _ in range(300)])  # type: ignore[arg-type]
    assert_follows(torch.bincount(drawn, minlength=SIZE).numpy(), chance)


def noisy_predictions(rate: float, size: int = 4000, classes: int = 5) -> Signals:
    """A network that has learned the clean classes, mostly; labels of which `rate` are wrong."""
    rng = np.random.default_rng(3)
    clean = rng.integers(classes, size=size)
    shift = np.where(rng.random(size) < rate, rng.integers(1, classes, size), 0)
    logits = rng.normal(0, 1, (size, classes)) + 4.0 * np.eye(classes)[clean]
    labels = torch.from_numpy((clean + shift) % classes)
    return Signals.of(torch.arange(size), labels, torch.from_numpy(logits).float())


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 0.6])
def test_small_loss_finds_the_noise_rate_that_nobody_told(rate: float) -> None:
    assert float(noise_rate(noisy_predictions(rate))) == pytest.approx(rate, abs=0.03)


def test_small_loss_leaves_out_wrong_labels() -> None:
    signals = noisy_predictions(0.4)
    wrong = signals.logits.argmax(1) != signals.labels
    probe = crafted(signals.loss)
    sampler = started("small-loss", 4000, 50, probe, noise_rate=0.4)
    drawn = torch.cat([sampler.draw(probe, 0.5).index for _ in range(48)])
    assert wrong[drawn].float().mean() < 0.1 < wrong.float().mean()
    assert {len(asked) for asked in probe.asked} == {84}


def test_divbs_spans_the_mean_gradient_sooner_than_chance() -> None:
    """What is left of the mean gradient when a mini-batch of 8 of 80 explains what it can, against random mini-batches."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(5, (80,), generator=generator)
    logits = torch.randn(80, 5, generator=generator) * 2

    class Probe:
        def __call__(self, index: Tensor, mode: str | None = None) -> Signals:
            return Signals.of(index, labels[index], logits[index])

    by_logit = logits.softmax(1) - F.one_hot(labels, 5)
    gradients = (by_logit[:, :, None] * logits[:, None, :]).flatten(1).double().numpy()

    def left(index: Tensor) -> float:
        basis, mean = gradients[index.numpy()].T, gradients.mean(0)
        return float(np.linalg.norm(mean - basis @ np.linalg.lstsq(basis, mean, rcond=None)[0]))

    sampler: Sampler = registry.load("samplers", "divbs", Sampler)()
    sampler.start(Pool(80, 8, 5, labels, 3), Probe())  # type: ignore[arg-type]
    ours = [left(sampler.draw(Probe(), 0.0).index) for _ in range(60)]  # type: ignore[arg-type]
    chance = [left(torch.randperm(80, generator=generator)[:8]) for _ in range(60)]
    assert np.mean(ours) < 0.9 * np.mean(chance)
