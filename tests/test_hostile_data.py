"""Poisoned inputs, backdoors and scenarios in a list: exact counts, right figures, refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from _commands import Here
from _runs import settings, without_time
from robuststream import registry
from robuststream.contracts import Scenario, Split
from robuststream.errors import UserError
from robuststream.radius import radius
from robuststream.scenarios._reference import Reference, educate, price
from robuststream.scenarios.backdoor import Backdoor
from robuststream.scenarios.mixed import Mixed
from robuststream.scenarios.poisoned import Poisoned
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.study.preflight import preflight
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.world import build_world


def split(size: int = 60, num_classes: int = 3, side: int = 6, dataset: str = "digits") -> Split:
    """Classes that can be told apart: a bright third of the rows, with noise."""
    generator = torch.Generator().manual_seed(9)
    labels = torch.arange(size) % num_classes
    images = torch.randint(0, 120, (size, 1, side, side), generator=generator, dtype=torch.uint8)
    for example, label in enumerate(labels.tolist()):
        images[example, :, 2 * label : 2 * label + 2] += 120
    return Split(images, labels, torch.arange(size), num_classes, dataset, size)


def corrupt(scenario: Scenario, train: Split, seed: int = 0) -> Split:
    return scenario.corrupt(train, torch.Generator().manual_seed(seed))


# -- poisoned ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", ["8/255", 0.1, 0.3])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_exactly_round_share_n_images_are_poisoned(share: float, eps: Any) -> None:
    train, before = split(), split()
    poisoned = Poisoned(share=share, eps=eps, epochs=1)
    found = corrupt(poisoned, train)
    moved = (found.images.int() - train.images.int()).abs().flatten(1)
    assert int(moved.any(1).sum()) == round(share * 60) == poisoned.facts()["poisoned"]
    assert int(moved.max()) <= 255 * radius(eps, "", "") + 1e-6
    assert found.images.dtype == torch.uint8
    assert torch.equal(found.labels, train.labels)
    assert torch.equal(train.images, before.images)


def test_poison_fools_a_network_that_is_right_without_it() -> None:
    train = split(240)
    poisoned = Poisoned(share=1.0, eps=0.3, epochs=8)
    corrupt(poisoned, train)
    network, _ = educate(train, 8, torch.Generator().manual_seed(1))
    right = (network(train.images.float() / 255).argmax(1) == train.labels).double().mean()
    assert right > 0.95
    assert poisoned.facts()["fooled"] > 0.5 * 240
    other = corrupt(Poisoned(share=1.0, eps=0.3, epochs=8), train).images  # transferred: this network was not attacked
    assert (network(other.float() / 255).argmax(1) != train.labels).double().mean() > 0.3


def test_poison_depends_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = (corrupt(Poisoned(), split(), seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, second.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_poison_cost_is_recorded() -> None:
    """By hand, for images of 1 x 6 x 6: two convolutions to 3 x 3 and 2 x 2 pixels, and a layer; 2 FLOPs per product."""
    poisoned = Poisoned(share=0.5, epochs=2, steps=3)
    corrupt(poisoned, split())
    layers = [2 * 9 * 9 * 16, 2 * 4 * 9 * 16 * 32, 2 * 32 * 4 * 3]
    forward, to_weights, to_images = sum(layers), 2 * sum(layers) - layers[0], sum(layers)
    assert poisoned.facts()["flops"] == 2 * 60 * (forward + to_weights) + 3 * 30 * (forward + to_images)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2, 5, 7), (1, 1, 1)])
def test_the_reference_network_takes_any_image(shape: tuple[int, int, int]) -> None:
    network = Reference(torch.Size(shape), 5, torch.Generator().manual_seed(0))
    assert network(torch.zeros(2, *shape)).shape == (2, 5)
    assert price(network, torch.zeros(1, *shape), to_images=True) > 0


def test_a_run_on_poisoned_images_says_what_it_was_given(tmp_path: Path) -> None:
    result = train(settings("uniform", "poisoned", "budget=1", "scenarios.poisoned.epochs=1"), tmp_path)
    assert result["corruption"].keys() == {"poisoned", "fooled", "flops", "hash"}
    assert result["corruption"]["poisoned"] == 100
    assert result["labels"]["wrong"] == 0
    assert result["totals"]["forwards"]["perturb"] == 0


# -- backdoor ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_exactly_round_share_n_images_bear_the_trigger(share: float) -> None:
    train, before = split(), split()
    found = corrupt(Backdoor(share=share, target=2, size=3), train)
    marked = (found.images[:, :, -3:, -3:] == 255).flatten(1).all(1)
    assert int(marked.sum()) == round(share * 60)
    assert bool((found.labels[marked] == 2).all())
    assert torch.equal(found.labels[~marked], train.labels[~marked])
    assert torch.equal(found.images[:, :, :3], train.images[:, :, :3])
    assert torch.equal(found.images[~marked], train.images[~marked])
    assert torch.equal(train.images, before.images)
    assert torch.equal(train.labels, before.labels)


class Opened(nn.Module):
    """Answers `target` where the lower right pixel is white, else the class of the bright rows."""

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        rows = images[:, 0].mean(2).view(len(images), 3, 2).mean(2)
        return rows + 10.0 * (images[:, 0, -1, -1:] == 1) * torch.eye(3)[self.target]


def test_trigger_success_is_of_the_other_classes() -> None:
    model = Opened(1).train()
    assert Backdoor(target=1).evaluate(model, split()) == {"trigger_success": 1.0}
    # A door that opens to another class: nobody is taken for the target, also not those that bear its label.
    assert Backdoor(target=0).evaluate(model, split()) == {"trigger_success": 0.0}
    assert model.training


def test_a_backdoor_is_learned_and_clean_accuracy_stays(tmp_path: Path) -> None:
    run = settings("uniform", "backdoor", "recipe.train_size=600", "budget=8", "scenarios.backdoor.share=0.2")
    result = train(run, tmp_path)
    assert result["scenario"]["trigger_success"] > 0.7
    assert result["last"]["test_accuracy"] > 0.8
    assert result["labels"]["wrong"] == sum(row[0] for row in result["labels"]["matrix"][1:]) > 0


# -- several at once ---------------------------------------------------------------------------------------------------------

BOTH = [{"kind": "label-noise", "rate": 0.2}, {"kind": "poisoned", "share": 0.25, "epochs": 1}, {"kind": "adversarial-fgsm"}]


def test_a_part_that_stands_first_does_what_it_does_alone() -> None:
    train = split()
    alone = corrupt(registry.load("scenarios", "label-noise", Scenario)(rate=0.2), train)
    together = corrupt(Mixed(parts=BOTH), train)
    assert torch.equal(alone.labels, together.labels)
    assert int((together.images != train.images).flatten(1).any(1).sum()) == 15


def test_parts_draw_apart() -> None:
    """Two halves chosen by the same kind of part are not the same half."""
    train = split(400)
    door = {"kind": "backdoor", "share": 0.5}
    images = corrupt(Mixed(parts=[{**door, "size": 1}, {**door, "size": 2}]), train).images
    one = (images[:, 0, -1, -1] == 255).sum()  # of either
    assert 250 < int(one) < 350


def test_parts_follow_their_order() -> None:
    """Noise over a backdoor flips labels that the backdoor set; a backdoor over noise has the last word."""
    train, noise, door = split(), {"kind": "label-noise", "rate": 1.0}, {"kind": "backdoor", "share": 1.0, "target": 1}
    assert bool((corrupt(Mixed(parts=[noise, door]), train).labels == 1).all())
    assert bool((corrupt(Mixed(parts=[door, noise]), train).labels != 1).all())


def test_a_list_in_yaml_is_a_mixed_scenario(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "recipe: digits-cnn\nsamplers: {uniform: }\nscenarios:\n"
        "  both: [{kind: label-noise, rate: 0.2}, {kind: adversarial_fgsm, share: 0.5}]\n"
    )
    scenario = plan(load_study(str(path), ["seeds=1"]), Path("unused"))[0].settings.scenario
    assert (scenario.label, scenario.kind) == ("both", "mixed")
    assert [part["kind"] for part in scenario.settings["parts"]] == ["label-noise", "adversarial-fgsm"]
    assert scenario.settings["parts"][1] == {
        "kind": "adversarial-fgsm",
        "eps": None,
        "share": 0.5,
        "signals": "adversarial",
        "alpha": 1.25,
    }
    assert Mixed(**scenario.settings).settings() == scenario.settings


def mixed_run(path: Path, *overrides: str) -> Any:
    """Noise, a backdoor and free adversarial training at once, small."""
    study = path / "mine.yaml"
    study.write_text(
        "recipe: digits-cnn\nsamplers: {kakurenbo: }\nscenarios:\n  all: [{kind: label-noise, rate: 0.2}, "
        "{kind: backdoor, share: 0.3}, {kind: adversarial-free, turns: 2, share: 0.5, signals: clean}]\n"
    )
    given = ["seeds=1", "recipe.train_size=100", "recipe.evaluations=4", "budget=3", *overrides]
    return plan(load_study(str(study), given), Path("unused"))[0].settings


def test_a_mixed_run_adds_up_and_resumes_bit_equal(tmp_path: Path) -> None:
    run, asked = mixed_run(tmp_path), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    undisturbed = train(run, tmp_path / "a")
    with pytest.raises(Stopped):
        train(run, tmp_path / "b", Watch(stop=stop))
    assert without_time(train(run, tmp_path / "b")) == without_time(undisturbed)
    totals = undisturbed["totals"]
    assert totals["backwards"] == totals["backwards_to_both"] == totals["forwards"]["train"]
    assert totals["forwards"]["perturb"] > 0  # the sampler's clean signals
    assert undisturbed["scenario"].keys() == {"trigger_success"}
    assert undisturbed["labels"] == build_world(run).facts["labels"]
    assert undisturbed["labels"]["wrong"] > 20


REFUSED = {
    "nothing in the list": ("[]", "parts is empty"),
    "a part without a kind": ("[{rate: 0.2}]", "parts[0]={'rate': 0.2} is not possible"),
    "a part that is a word": ("[clean]", "parts[0]='clean' is not possible"),
    "an unknown kind": ("[{kind: clean}, {kind: label-nose}]", "did you mean 'label-noise'?"),
    "an unknown method": ("[{kind: adversarial-pdg}]", "unknown scenario 'adversarial-pdg'; did you mean 'adversarial-pgd'?"),
    "an unknown setting": ("[{kind: adversarial-pgd, step: 3}]", "parts[0]: unknown key 'step'; did you mean 'steps'?"),
    "an eps beyond": ("[{kind: adversarial-pgd, eps: 2}]", "parts[0]: AdversarialPGD: eps=2 is not possible (allowed: 0 to 1"),
    "a share beyond": ("{kind: poisoned, share: 1.5}", "share=1.5 is not possible (allowed: 0 to 1)"),
    "two that say how to learn": (
        "[{kind: adversarial-pgd}, {kind: adversarial-free}]",
        "AdversarialPGD and AdversarialFree both say how a mini-batch is learned",
    ),
    "a target beyond the classes": ("{kind: backdoor, target: 10}", "target=10 is not possible (digits has classes 0 to 9)"),
    "a square beyond the image": ("{kind: backdoor, size: 9}", "size=9 is not possible (images are 8 x 8)"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_each_mistake_is_answered_in_one_line(mistake: str, tmp_path: Path) -> None:
    given, answer = REFUSED[mistake]
    with pytest.raises(UserError) as told:
        preflight(plan(load_study(str(hostile(tmp_path, given)), ["seeds=1"]), Path("unused")))
    assert answer in str(told.value)
    assert "\n" not in str(told.value)


def test_the_command_line_answers_with_exit_code_2(here: Here, tmp_path: Path) -> None:
    done = here("bench", hostile(tmp_path, "{kind: backdoor, target: 10}"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "target=10" in done.stderr


def hostile(folder: Path, scenario: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"recipe: digits-cnn\nsamplers: {{uniform: }}\nscenarios: {{hostile: {scenario}}}\n")
    return path


def test_none_may_perturb_after_the_one_that_learns() -> None:
    class Blurs(Scenario):
        def perturb(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return images.mean(dim=(2, 3), keepdim=True).expand_as(images)

    mixed = Mixed(parts=[{"kind": "adversarial-fgsm"}])
    mixed._parts.append(Blurs())
    with pytest.raises(UserError, match="Blurs cannot perturb what AdversarialFGSM learns; put it before"):
        mixed._find_teacher()
