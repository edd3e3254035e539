"""Adversarial training: as the papers say, within the ball, exactly charged, and nothing disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from _runs import settings, without_time
from robuststream import records, registry
from robuststream.checks.waits import Waits
from robuststream.contracts import Scenario, Signals, Split
from robuststream.data.batches import Batches
from robuststream.errors import UserError
from robuststream.models._layers import Dropout
from robuststream.radius import USUAL, radius
from robuststream.scenarios._ball import anywhere, climb, misclassify
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.step import take_step
from robuststream.training.world import World, build_world
from twins import adversarial as twin

METHODS = ("adversarial-pgd", "adversarial-fgsm", "adversarial-trades", "adversarial-free")
DIM, CLASSES = 12, 4
PLACE = {"adversarial-pgd": {"steps": 2}, "adversarial-trades": {"steps": 2}, "adversarial-free": {"turns": 3}}
"""Fewer steps than by default, so that tests are fast."""


def scenario(kind: str, generator_seed: int = 0, dataset: str = "digits", **given: Any) -> Any:
    """A started scenario, with fewer steps than by default."""
    built = registry.load("scenarios", kind, Scenario)(**{**PLACE.get(kind, {}), **given})
    images = torch.zeros(8, 1, 3, 4, dtype=torch.uint8)
    split = Split(images, torch.zeros(8, dtype=torch.int64), torch.arange(8), CLASSES, dataset, 8)
    built.start(split, torch.Generator().manual_seed(generator_seed))
    return built


def network(seed: int = 0) -> tuple[nn.Sequential, twin.Net]:
    """The same two-layer network twice: in torch, float64, and in NumPy."""
    random = np.random.default_rng(seed)
    w1, b1, w2, b2 = (random.normal(size=size) for size in ((DIM, 7), (7,), (7, CLASSES), (CLASSES,)))
    first, second = (nn.utils.skip_init(nn.Linear, *size, dtype=torch.float64) for size in ((DIM, 7), (7, CLASSES)))
    for layer, weight, bias in ((first, w1, b1), (second, w2, b2)):
        layer.weight.data, layer.bias.data = torch.tensor(weight.T.copy()), torch.tensor(bias)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), twin.Net(w1, b1, w2, b2)


def examples(n: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Pixels of which many lie on the borders 0 and 1."""
    random = np.random.default_rng(seed)
    pixels = np.clip(random.normal(0.5, 0.6, size=(n, 1, 3, 4)), 0, 1)
    return torch.tensor(pixels, dtype=dtype), torch.tensor(random.integers(CLASSES, size=n))


def flat(images: Tensor) -> np.ndarray[Any, Any]:
    return images.detach().flatten(1).numpy()


# -- twins -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "steps", "alpha"), [("adversarial-pgd", 3, 2.5 / 3), ("adversarial-fgsm", 1, 1.25)])
@pytest.mark.parametrize("eps", [0.03, 0.3])
def test_attacks_are_those_of_the_numpy_twin(kind: str, steps: int, alpha: float, eps: float) -> None:
    model, net = network()
    images, labels = examples(9)
    world = scenario(kind, eps=eps, **({"steps": 3} if kind == "adversarial-pgd" else {}))
    found = world.perturb(model, images, labels)
    noise = torch.empty_like(images).uniform_(-eps, eps, generator=torch.Generator().manual_seed(0))
    start = np.clip(flat(images) + flat(noise), 0, 1)
    expected = twin.pgd(net, flat(images), labels.numpy(), start, eps, alpha * eps, steps)
    assert np.abs(flat(found) - expected).max() < 1e-12
    assert np.abs(flat(found) - flat(images)).max() > 0.9 * eps


def test_trades_is_that_of_the_numpy_twin() -> None:
    model, net = network()
    images, labels = examples(9)
    world = scenario("adversarial-trades", eps=0.2, steps=3, beta=2.5)
    assert world.perturb(model, images, labels) is images
    noise = torch.empty_like(images).normal_(generator=torch.Generator().manual_seed(0))
    start = flat(images) + 0.001 * flat(noise)
    attacked = twin.trades_attack(net, flat(images), start, 0.2, 0.2 * 2.5 / 3, 3)
    assert np.abs(flat(world._attacked) - attacked).max() < 1e-12
    lesson = world.learn(model, images, labels)
    expected = twin.trades_loss(net, flat(images), attacked, labels.numpy(), beta=2.5)
    assert (lesson.loss + lesson.penalty).detach().numpy() == pytest.approx(expected)
    assert lesson.shown.numpy() == pytest.approx(net.logits(attacked))


def test_the_trades_loss_has_the_gradient_of_both_terms() -> None:
    """Against differences of the twin's loss: neither the clean nor the adversarial pass is cut off."""
    model, net = network()
    images, labels = examples(5)
    world = scenario("adversarial-trades", eps=0.2, beta=2.5)
    world.perturb(model, images, labels)
    lesson = world.learn(model, images, labels)
    (lesson.loss + lesson.penalty).sum().backward()
    found = model[1].bias.grad
    assert found is not None
    for unit in range(7):
        losses = []
        for way in (1e-6, -1e-6):
            net.b1[unit] += way
            losses.append(twin.trades_loss(net, flat(images), flat(world._attacked), labels.numpy(), beta=2.5).sum())
            net.b1[unit] -= way
        assert float(found[unit]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_free_training_is_that_of_the_numpy_twin() -> None:
    """Weights and perturbation after mini-batches of three sizes; the perturbation is carried on."""
    model, net = network()
    batches = [examples(n, seed) for seed, n in enumerate((6, 4, 9, 5))]
    world = scenario("adversarial-free", eps=0.15, turns=3)
    world.delta_ = world.delta_.double()
    for images, labels in batches:
        for _ in range(world.replays):
            leaf = world.perturb(model, images, labels)
            lesson = world.learn(model, leaf, labels)
            model.zero_grad()
            lesson.loss.mean().backward()
            world.learned(leaf.grad)
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= 0.05 * weight.grad
    expected = twin.free(net, [(flat(x), y.numpy()) for x, y in batches], 0.15, 3, 0.05)
    assert flat(world.delta_) == pytest.approx(expected, abs=1e-12)
    assert np.abs(model[3].weight.detach().numpy().T - net.w2).max() < 1e-12


# -- beside torchattacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 8 / 255, 0.1, 0.3, 1.0])
@pytest.mark.parametrize(("n", "steps"), [(1, 1), (7, 10), (32, 4)])
def test_the_inner_loop_is_torchattacks_bit_for_bit(eps: float, n: int, steps: int) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, (images, labels) = network()[0].float().eval(), examples(n, dtype=torch.float32)
    alpha = 2.5 * eps / steps
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.PGD(model, eps=eps, alpha=alpha, steps=steps)(images, labels)
    start = anywhere(images, eps, torch.Generator().manual_seed(5))
    ours = climb(model, images, start, misclassify(labels), eps=eps, alpha=alpha, steps=steps)
    assert torch.equal(ours, theirs)


def test_fgsm_with_random_start_is_torchattacks_bit_for_bit() -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, (images, labels) = network()[0].float().eval(), examples(32, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.FFGSM(model, eps=0.1, alpha=0.125)(images, labels)
    world = scenario("adversarial-fgsm", generator_seed=5, eps=0.1)
    torch.randn(images.shape, generator=world.generator_)  # which torchattacks draws in vain
    assert torch.equal(world.perturb(model, images, labels), theirs)


# -- what is perturbed -------------------------------------------------------------------------------------------------------


def attacked(world: Any, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What is learned from as perturbed, also where `perturb` keeps it back."""
    found = world.perturb(model, images, labels)
    if hasattr(world, "_attacked"):
        found = images.index_copy(0, world._chosen, world._attacked)
    if found.requires_grad:  # free: give it something to move along
        world.learn(model, found, labels).loss.mean().backward()
        world.learned(found.grad)
        for _ in range(world.replays):  # and come to the next mini-batch's second turn
            found = world.perturb(model, images, labels)
    return found.detach()


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("eps", [1e-3, "8/255", 0.3, 1])
def test_perturbations_stay_in_the_ball_and_in_range(kind: str, eps: Any) -> None:
    model = network()[0].float()
    images, labels = examples(40, dtype=torch.float32)
    found = attacked(scenario(kind, eps=eps), model, images, labels)
    reach = radius(eps, "", "")
    assert float((found - images).abs().max()) <= reach + 1e-7
    assert float((found - images).abs().max()) > 0.5 * reach
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


@pytest.mark.parametrize("kind", METHODS)
def test_eps_0_changes_nothing(kind: str) -> None:
    images, labels = examples(10, dtype=torch.float32)
    assert torch.equal(attacked(scenario(kind, eps=0), network()[0].float(), images, labels), images)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.777, 1.0])
@pytest.mark.parametrize("n", [1, 7, 32])
def test_exactly_round_share_n_examples_are_perturbed(kind: str, share: float, n: int) -> None:
    images = torch.full((n, 1, 3, 4), 0.5)
    labels = torch.zeros(n, dtype=torch.int64)
    found = attacked(scenario(kind, eps=0.1, share=share), network()[0].float(), images, labels)
    assert int((found != images).flatten(1).any(1).sum()) == round(share * n)


def test_every_place_of_a_minibatch_is_chosen_alike() -> None:
    world = scenario("adversarial-fgsm", eps=0.1, share=0.25)
    counts = torch.zeros(8)
    for _ in range(800):
        counts[world._choose(torch.zeros(8, 1, 3, 4))] += 1
    assert counts.sum() == 1600
    assert float((counts - 200).abs().max()) < 60  # 5 standard deviations


class Strange(nn.Module):
    """A network with everything that an attack may disturb: running statistics, dropout, a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(1).eval()
        self.moving = nn.BatchNorm2d(1)
        self.dropout = Dropout(0.5)
        self.dropout.generator = torch.Generator().manual_seed(3)
        self.body = network()[0].float()

    def forward(self, images: Tensor) -> Tensor:
        return self.body(self.dropout(self.moving(self.frozen(images))))


@pytest.mark.parametrize("signals", ["clean", "adversarial"])
@pytest.mark.parametrize("kind", METHODS)
def test_modes_buffers_and_generators_are_left_alone(kind: str, signals: str) -> None:
    model, (images, labels) = Strange(), examples(8, dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    generator = model.dropout.generator
    assert generator is not None
    states = torch.get_rng_state(), generator.get_state()
    world = scenario(kind, eps=0.1, signals=signals)
    for _ in range(world.replays):
        world.perturb(model, images, labels)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(generator.get_state(), states[1])
    assert all(weight.grad is None for weight in model.parameters())


def test_the_modes_come_back_where_an_attack_fails() -> None:
    model = Strange()
    with pytest.raises(RuntimeError):
        scenario("adversarial-fgsm", eps=0.1).perturb(model, torch.zeros(2, 1, 9, 9), torch.zeros(2, dtype=torch.int64))
    assert model.moving.training
    assert not model.frozen.training


# -- what the sampler observes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", METHODS)
def test_signals_are_of_clean_or_of_perturbed_images(kind: str, share: float) -> None:
    model, (images, labels) = network()[0].float(), examples(10, dtype=torch.float32)
    for signals in ("clean", "adversarial"):
        world = scenario(kind, eps=0.3, share=share, signals=signals, **({"turns": 1} if kind == "adversarial-free" else {}))
        if kind == "adversarial-free":
            world.delta_ = torch.full((10, 1, 3, 4), 0.3)
        found = world.perturb(model, images, labels)
        lesson = world.learn(model, found, labels)
        seen = Signals.of(torch.arange(10), labels, lesson.logits if lesson.shown is None else lesson.shown)
        perturbed = images.index_copy(0, world._chosen, world._attacked) if hasattr(world, "_attacked") else found
        expected = model(images if signals == "clean" else perturbed)
        assert seen.logits == pytest.approx(expected.detach(), abs=1e-5)
        assert seen.loss == pytest.approx(nn.functional.cross_entropy(expected, labels, reduction="none").detach(), abs=1e-4)
        if share == 0.0:
            assert lesson.penalty is None
            assert torch.equal(lesson.loss, nn.functional.cross_entropy(model(images), labels, reduction="none"))


# -- the ledger --------------------------------------------------------------------------------------------------------------


class Flops(TorchDispatchMode):
    """Every floating-point operation that is carried out, counted below autograd."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def small(kind: str, *overrides: str) -> World:
    given = [f"scenarios.{kind}.{key}={value}" for key, value in PLACE.get(kind, {}).items()]
    return build_world(settings("uniform", kind, *given, *overrides))


def step(world: World) -> None:
    """The first step of a run."""
    world.clock.to("draw")
    world.sampler.start(world.pool, world.probe)
    world.network.train()
    take_step(world, settings().recipe)


EXPECTED = {  # of a mini-batch of 32 with 16 perturbed: forwards to train, to perturb, backwards to weights, images, both
    "adversarial-pgd": (32, 2 * 16, 32, 2 * 16, 0),
    "adversarial-fgsm": (32, 16, 32, 16, 0),
    "adversarial-trades": (32 + 16, 16 + 2 * 16, 32 + 16, 2 * 16, 0),
    "adversarial-free": (3 * 32, 0, 0, 0, 3 * 32),
}


@pytest.mark.parametrize("signals", ["clean", "adversarial"])
@pytest.mark.parametrize("kind", METHODS)
def test_every_pass_is_charged_at_its_price(kind: str, signals: str) -> None:
    """Counts are those of a hook on the bare network, FLOPs those that the processor carried out."""
    world = small(kind, f"scenarios.{kind}.share=0.5", f"scenarios.{kind}.signals={signals}")
    passed = {"train": 0, "perturb": 0}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passed["perturb" if world.clock.account == "perturb" else "train"] += len(inputs[0])

    world.bare.register_forward_pre_hook(count)
    with Flops() as counted:
        step(world)
    ledger = world.ledger
    extra = 16 if signals == "clean" and kind != "adversarial-trades" else 0
    to_train, to_perturb, weights, images, both = EXPECTED[kind]
    assert passed == {"train": to_train, "perturb": to_perturb + extra}
    assert ledger.forwards == {**passed, "probe": 0}
    assert (ledger.backwards - ledger.to_images - ledger.to_both, ledger.to_images, ledger.to_both) == (weights, images, both)
    assert ledger.flops == counted.total
    assert ledger.steps == world.scenario.replays


@pytest.mark.parametrize("signals", ["clean", "adversarial"])
@pytest.mark.parametrize("kind", METHODS)
def test_a_step_never_waits_for_the_host(kind: str, signals: str) -> None:
    world = small(kind, f"scenarios.{kind}.share=0.5", f"scenarios.{kind}.signals={signals}")
    step(world)
    waits = Waits()
    with waits.watching():
        take_step(world, settings().recipe)
    assert waits.take() == []


# -- whole runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["0.5", "1.0"])
@pytest.mark.parametrize("kind", METHODS)
def test_a_stopped_run_ends_as_an_undisturbed_one(kind: str, share: str, tmp_path: Path) -> None:
    given = [f"scenarios.{kind}.{key}={value}" for key, value in PLACE.get(kind, {}).items()]
    run = settings("kakurenbo", kind, *given, f"scenarios.{kind}.share={share}", "recipe.train_size=100")
    results, asked = [], 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        if name == "b":
            with pytest.raises(Stopped):
                train(run, tmp_path / name, Watch(stop=stop))
        results.append(without_time(train(run, tmp_path / name)))
    assert results[0] == results[1]
    logs = [records.read_evaluations(tmp_path / name / "records.jsonl") for name in ("a", "b")]
    assert [without_time(record) for record in logs[0]] == [without_time(record) for record in logs[1]]


def test_the_attack_has_a_stream_of_its_own() -> None:
    """With eps 0 the same mini-batches are drawn and learned as in the clean world: no other stream is moved."""
    worlds = [small("adversarial-fgsm", "scenarios.adversarial-fgsm.eps=0"), build_world(settings("uniform", "clean"))]
    for world in worlds:
        step(world)
    for name, value in worlds[0].bare.state_dict().items():
        assert torch.equal(value, worlds[1].bare.state_dict()[name])


# -- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"eps": 1.5}, "eps=1.5 is not possible (allowed: 0 to 1"),
        ({"eps": -0.1}, "eps=-0.1 is not possible"),
        ({"eps": "8/0"}, "eps='8/0' is not possible"),
        ({"eps": "eight"}, "eps='eight' is not possible"),
        ({"eps": float("nan")}, "eps=nan is not possible"),
        ({"eps": "1e999"}, "is not possible"),
        ({"eps": True}, "must be text or a number or null"),
        ({"share": 1.1}, "share=1.1 is not possible (allowed: 0 to 1)"),
        ({"share": -0.1}, "share=-0.1"),
        ({"signals": "both"}, "allowed: adversarial | clean"),
    ],
)
@pytest.mark.parametrize("kind", METHODS)
def test_settings_out_of_range_are_refused(kind: str, given: dict[str, Any], answer: str) -> None:
    with pytest.raises(UserError) as told:
        registry.load("scenarios", kind, Scenario)(**given)
    assert answer in str(told.value)


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'adversarial-pgd'"):
        registry.require("scenarios", "adversarial_pdg")


def test_a_data_set_without_a_usual_eps_needs_one() -> None:
    with pytest.raises(UserError, match=r"no usual eps is known for data set 'mine\.npz'; say it, as in eps=8/255"):
        scenario("adversarial-fgsm", dataset="mine.npz")
    assert scenario("adversarial-fgsm", dataset="mine.npz", eps="4/255").radius == 4 / 255


def test_every_usual_eps_is_one_and_of_a_data_set() -> None:
    from robuststream.data.catalog import CATALOG

    assert set(USUAL) == set(CATALOG)
    assert all(0 < radius(None, name, "") < 1 for name in USUAL)
    assert radius(None, "cifar10", "") == 8 / 255


def test_batches_hand_over_images_in_range() -> None:
    """What the ball relies on: pixels as fetched lie in [0, 1]; the network normalises inside."""
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images, _ = Batches(Split(pixels, torch.zeros(1, dtype=torch.int64), torch.arange(1), 2, "any", 1)).plain(torch.tensor([0]))
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
