"""Robust accuracy of a run: what is counted, what is suspicious, and that it can be believed on trained networks."""

from __future__ import annotations

import cProfile
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _runs import settings, without_time
from robuststream import records
from robuststream.attacks import Strength
from robuststream.config import Robust
from robuststream.contracts import Split
from robuststream.data.splits import evenly_spaced
from robuststream.errors import UserError
from robuststream.studies import load_study
from robuststream.training import suspicion
from robuststream.training.loop import train
from robuststream.training.robustness import as_mask, fooled, measure, possible, revive
from robuststream.training.suspicion import network_flags, square_flag

QUICK = Strength(steps=20, iterations=20, queries=150, targets=3)
EPS = 0.1


@cache
def trained() -> tuple[nn.Module, Split]:
    """A small network that knows most of the digits, and their test split."""
    from robuststream.data.splits import load_splits

    splits = load_splits("digits", validation=0.1, train_size=None, seed=0, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    x, y = splits.train.images.float() / 255, splits.train.labels
    for _ in range(120):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network, splits.test


def test_attacks_alone_come_in_the_order_of_their_strength() -> None:
    """Each against every example that is right, so that the order is the attacks' own and not that of the counting."""
    network, test = trained()
    images, labels = test.images.float() / 255, test.labels
    right = network(images).argmax(1) == labels
    names = ("fgsm", "pgd", "apgd-ce", "autoattack")
    left = [int((right & ~fooled(name, network, images, labels, right, EPS, 1, QUICK)).sum()) for name in names]
    assert int(right.sum()) > 0.9 * len(labels)
    slack = 2 + 0.01 * len(labels)  # examples on which a weaker attack may be luckier
    counts = [int(right.sum()), *left]
    assert all(weaker >= stronger - slack for weaker, stronger in pairwise(counts)), counts
    assert counts[0] > counts[1] > counts[4] > 0, counts


def test_the_borders_of_eps() -> None:
    network, test = trained()
    nothing = measure(network, test, Robust(attacks=["fgsm", "pgd", "autoattack"], eps=0.0, examples=50), 1, QUICK)
    assert set(nothing["attacks"].values()) == {nothing["clean"]}
    everything = measure(network, test, Robust(attacks=["pgd"], eps=1.0, examples=50), 1, QUICK)
    assert everything["attacks"]["pgd"] == 0


def test_a_measurement_counts_what_still_stands() -> None:
    network, test = trained()
    found = measure(network, test, Robust(attacks=["fgsm", "pgd"], eps=EPS, examples=100), 1, QUICK)
    rows = evenly_spaced(len(test.labels), 100)
    images, labels = test.images[rows].float() / 255, test.labels[rows]
    right = network(images).argmax(1) == labels
    after_fgsm = right & ~fooled("fgsm", network, images, labels, right, EPS, 1, QUICK)
    after_both = after_fgsm & ~fooled("pgd", network, images, labels, after_fgsm, EPS, 1, QUICK)
    assert (found["examples"], found["of"], found["clean"]) == (100, 360, int(right.sum()))
    assert found["attacks"] == {"fgsm": int(after_fgsm.sum()), "pgd": int(after_both.sum())}
    assert found["standing"] == "".join("1" if one else "0" for one in after_both)
    assert found["flags"] == []
    assert found["clean"] > found["attacks"]["fgsm"] >= found["attacks"]["pgd"]


def test_going_on_with_a_measurement_is_the_measurement_of_all() -> None:
    network, test = trained()
    whole = measure(network, test, Robust(attacks=["fgsm", "pgd"], eps=EPS, examples=60), 1, QUICK)
    first = measure(network, test, Robust(attacks=["fgsm"], eps=EPS, examples=60), 1, QUICK)
    both = measure(network, test, Robust(attacks=["pgd", "fgsm"], eps=EPS, examples=60), 1, QUICK, known=[first])
    assert {**both, "seconds": 0} == {**whole, "seconds": 0}
    other = measure(network, test, Robust(attacks=["pgd"], eps=EPS / 2, examples=60), 1, QUICK, known=[first])
    assert list(other["attacks"]) == ["pgd"]


def test_the_examples_are_spread_over_the_test_set() -> None:
    assert evenly_spaced(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly_spaced(7, 3).tolist() == [0, 2, 4]
    assert evenly_spaced(3, 1000).tolist() == [0, 1, 2]
    by_class = torch.arange(10).repeat_interleave(100)
    assert by_class[evenly_spaced(1000, 50)].bincount().tolist() == [5] * 10


# The five warnings, each by a network that is built to trip it.


class Honest(nn.Module):
    """Logits with a gradient everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class Random(Honest):
    def __init__(self, size: float) -> None:
        super().__init__()
        self.size, self.generator = size, torch.Generator().manual_seed(0)

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits + self.size * torch.randn(logits.shape, generator=self.generator)


class Softmax(Honest):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Flat(Honest):
    """Rounds its input: a step function, whose gradient is zero."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.round())


class Constant(Honest):
    """Does not look at its input at all."""

    def forward(self, images: Tensor) -> Tensor:
        return self.linear.bias.expand(len(images), -1) + torch.arange(4.0)


class Inside(Honest):
    """Moves its input along a gradient before it answers, as purifying defences do."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            at = images.detach().requires_grad_()
            slope = torch.autograd.grad(super().forward(at).logsumexp(1).sum(), at)[0]
        return super().forward(images + 0.01 * slope)


class InsideByBackward(Honest):
    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            at = images.detach().clone().requires_grad_()
            (at * at).sum().backward()
        return super().forward(images)


def pictures(n: int = 20) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        (Honest(), []),
        (Random(5.0), [suspicion.RANDOM]),
        (Random(0.01), [suspicion.RANDOM]),
        (Random(0.0), []),
        (Softmax(), [suspicion.SOFTMAX]),
        (Flat(), [suspicion.ZERO]),
        (Constant(), [suspicion.ZERO]),
        (Inside(), [suspicion.DYNAMIC]),
        (InsideByBackward(), [suspicion.DYNAMIC]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_network_that_cannot_be_believed_is_flagged(network: nn.Module, kinds: list[str]) -> None:
    images = pictures()
    network.train()
    flags = network_flags(network, images, torch.zeros(len(images), dtype=torch.int64))
    assert [flag["kind"] for flag in flags] == kinds
    assert all(flag["detail"] and "\n" not in flag["detail"] for flag in flags)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("network", [Honest(), Inside()])
def test_whoever_profiles_a_run_goes_on_after_the_watch_for_gradients(network: nn.Module) -> None:
    """cProfile's hook is no function on every Python; `python -m cProfile` on a study must not end in it."""
    seen: list[str] = []
    profile = cProfile.Profile()
    profile.enable()
    network_flags(network, pictures(), torch.zeros(20, dtype=torch.int64))
    as_mask("10", torch.device("cpu"))
    profile.disable()
    assert "as_mask" in {entry.code.co_name for entry in profile.getstats() if not isinstance(entry.code, str)}
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code.co_name))
    network_flags(network, pictures(), torch.zeros(20, dtype=torch.int64))
    as_mask("10", torch.device("cpu"))
    sys.setprofile(None)
    assert "as_mask" in seen


class Masked(Honest):
    """Two classes by brightness, behind a step function: its gradient says nothing, a search finds it at once."""

    def forward(self, images: Tensor) -> Tensor:
        brightness = (images.mean((1, 2, 3)) * 255).round() / 255 - 0.5
        own = brightness * 100 + 0 * self.linear(images.flatten(1)).sum(1)
        return torch.stack([own, -own, own - 50, own - 60], 1)


def test_square_stronger_than_the_gradients_is_flagged() -> None:
    images = (pictures(40) - 0.5) * 0.2 + 0.5
    labels = Masked()(images).argmax(1)
    split = Split((images * 255).byte(), labels, torch.arange(40), 4, "planted", 40)
    labels.copy_(Masked()(split.images / 255).argmax(1))
    found = measure(Masked(), split, Robust(attacks=["apgd-ce", "square"], eps=0.1, examples=40), 1, QUICK)
    assert found["attacks"]["apgd-ce"] > found["attacks"]["square"]
    assert suspicion.SQUARE in [flag["kind"] for flag in found["flags"]]
    whole = measure(Masked(), split, Robust(attacks=["autoattack"], eps=0.1, examples=40), 1, QUICK)
    assert suspicion.SQUARE in [flag["kind"] for flag in whole["flags"]]
    alone = measure(Masked(), split, Robust(attacks=["square"], eps=0.1, examples=40), 1, QUICK)
    assert suspicion.SQUARE not in [flag["kind"] for flag in alone["flags"]]


def test_square_may_take_two_in_a_thousand() -> None:
    assert square_flag(500, 498, 1000) is None
    flag = square_flag(500, 497, 1000)
    assert flag is not None
    assert "3 of 1000" in flag["detail"]


# Runs.

ROBUST = ("recipe.robust.eps=26/255", "recipe.robust.attacks=fgsm,pgd", "recipe.robust.examples=60")


def test_a_run_is_attacked_at_its_end_and_nothing_else_changes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = train(settings("uniform", "clean"), tmp_path / "a")
    run = settings("uniform", "clean", *ROBUST)
    result = train(run, tmp_path / "b")
    (found,) = result.pop("robust")
    assert "robust" not in plain
    assert without_time(result) == without_time(plain)
    assert result["seconds"]["attack"] > 0 == plain["seconds"]["attack"]
    assert (found["eps"], found["examples"]) == (26 / 255, 60)
    assert found["clean"] >= found["attacks"]["fgsm"] >= found["attacks"]["pgd"]

    network, test = revive(run, tmp_path / "b" / records.NETWORK, result["data"]["hash"])
    again = measure(network, test, Robust(attacks=["fgsm", "pgd"], eps=26 / 255, examples=60), stream_of(run.seed))
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def stream_of(seed: int) -> int:
    from robuststream.training.streams import stream_seed

    return stream_seed(seed, "attack")


def test_a_run_that_is_not_attacked_keeps_its_identity() -> None:
    plain = settings("uniform", "clean").model_dump()
    assert "robust" not in plain["recipe"]
    robust = settings("uniform", "clean", *ROBUST).model_dump()
    assert robust["recipe"]["robust"] == {"attacks": ["fgsm", "pgd"], "eps": 26 / 255, "examples": 60}
    assert records.identity(robust) != records.identity(plain)


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("recipe.robust.attacks=pdg", "unknown attack 'pdg'; did you mean 'pgd'?"),
        ("recipe.robust.attacks=pgd,pgd", "'pgd' is named twice"),
        ("recipe.robust.attacks=[]", "recipe.robust.attacks=[] is not possible"),
        ("recipe.robust.eps=1.5", "recipe.robust.eps=1.5 is not possible"),
        ("recipe.robust.eps=-0.1", "recipe.robust.eps=-0.1 is not possible"),
        ("recipe.robust.eps=8/0", "recipe.robust.eps='8/0' is not possible"),
        ("recipe.robust.eps=.nan", "recipe.robust.eps=nan is not possible"),
        ("recipe.robust.examples=0", "recipe.robust.examples=0 is not possible"),
        ("recipe.robust.exampels=5", "did you mean 'examples'?"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line(override: str, answer: str) -> None:
    with pytest.raises(UserError) as refused:
        load_study("noisy-labels", ["recipe.robust.eps=0.1", override])
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)


def test_eps_is_required() -> None:
    with pytest.raises(UserError, match=r"'recipe\.robust\.eps' is missing"):
        load_study("noisy-labels", ["recipe.robust.attacks=pgd"])


def test_too_few_classes_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match="needs 4 classes, these data have 3"):
        possible(Robust(attacks=["pgd", "autoattack"], eps=0.1), 3)
    possible(Robust(attacks=["pgd", "apgd-ce", "square"], eps=0.1), 2)


def test_a_network_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "network.pt").write_bytes(b"torn")
    run = settings("uniform", "clean")
    with pytest.raises(UserError, match="does not hold this run's network"):
        revive(run, tmp_path / "network.pt", data_hash())
    with pytest.raises(UserError, match="have changed since the run was measured"):
        revive(run, tmp_path / "network.pt", "another")


def data_hash() -> str:
    from robuststream.data.splits import load_splits

    return load_splits("digits", validation=0.1, train_size=None, seed=0, device="cpu").data_hash
