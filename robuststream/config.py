"""Settings: what a study, a recipe and a run consist of, and what each value may be. No torch here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from robuststream.errors import meant
from robuststream.radius import number

UNITS = ("epochs", "steps", "backwards", "seconds")
ATTACKS = ("fgsm", "pgd", "apgd-ce", "square", "autoattack")


def _switch(default: Any, **limits: Any) -> Any:
    """A setting that came later: left at its default it is not written down, so that runs keep the identity they had."""
    return Field(default, exclude_if=lambda value: value == default, **limits)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Budget(_Strict):
    """An amount of compute. `epochs` means the FLOPs of so many uniform epochs, whatever they are spent on."""

    amount: float = Field(gt=0, allow_inf_nan=False)
    unit: Literal["epochs", "steps", "backwards", "seconds"] = "epochs"

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def _budget(value: Any) -> Any:
    """`10` and `10 epochs` are short for {amount: 10, unit: epochs}."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"amount": float(value)}
    if isinstance(value, str):
        amount, _, unit = value.strip().partition(" ")
        try:
            return {"amount": float(amount), "unit": unit.strip() or "epochs"}
        except ValueError:
            raise ValueError(f"a number and one of {', '.join(UNITS)}, as in '500 steps'") from None
    return value


class _MaybePlacebo(_Strict):
    """What says so only where it is one: other settings, and so the identity of their runs, are as if there were no placebos."""

    placebo: bool = _switch(False, description="samplers only: the same selection on signals dealt at random among the examples")


class Plugin(_MaybePlacebo):
    """One arm or scenario: its label in tables, the plug-in's name, and the hyperparameters that were given."""

    label: str = Field(min_length=1, max_length=60)
    kind: str
    given: dict[str, Any] = {}
    learner: Plugin | None = Field(None, description="an arm's objective; None is plain cross-entropy")
    recipe: dict[str, Any] = Field({}, description="what a scenario changes of the study's recipe, for all arms alike")

    @field_validator("label")
    @classmethod
    def _can_be_shown(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it is shown in tables and terminals: printable characters only")
        return value


class Augment(_Strict):
    """Drawn anew for every presented example, repeats included."""

    crop: int = Field(0, ge=0, le=16, description="pixels of padding around a random crop of the original size")
    border: Literal["zeros", "reflect"] = _switch("zeros", description="what the padding shows: nothing, or the image reflected")
    flip: bool = Field(False, description="mirror left-right with probability 1/2")
    alternate: bool = _switch(False, description="with flip: an example is mirrored every second time, the first at random")


def attack_names(value: Any) -> Any:
    """`fgsm,pgd` is short for [fgsm, pgd]; an underscore means a hyphen."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list):
        return value
    return [name.strip().replace("_", "-") if isinstance(name, str) else name for name in names]


class Robust(_Strict):
    """Accuracy under attack, measured once at the end of a run, on its final network, off the clock and off the budget."""

    attacks: Annotated[list[str], BeforeValidator(attack_names)] = Field(
        ["pgd"], min_length=1, description=f"of {', '.join(ATTACKS)}; each on what the earlier ones left correct"
    )
    eps: Annotated[float, BeforeValidator(number)] = Field(
        ge=0, le=1, allow_inf_nan=False, description="radius of the L-infinity ball, on images in [0, 1]; 8/255 is a number"
    )
    examples: int = Field(1000, ge=1, description="at most so many, evenly spaced over the test set: the same for every run")

    @field_validator("attacks")
    @classmethod
    def _exist(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in ATTACKS:
                raise ValueError(f"unknown attack '{name}'; {meant(name, ATTACKS)}")
        if twice := next((name for name in value if value.count(name) > 1), None):
            raise ValueError(f"'{twice}' is named twice")
        return value


class Recipe(_Strict):
    """Data set, network, optimizer, schedule, augmentation, budget."""

    name: str = "unnamed"
    data: str = Field(description="a data set's name, a file.npz, or a folder of images")
    train_size: int | None = Field(None, ge=1, description="use only so many training examples, stratified")
    test_size: int | None = _switch(
        None, ge=1, description="use only so many test examples, evenly spaced: the same for every run"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training data set aside, stratified, clean")
    model: str
    model_settings: dict[str, Any] = {}
    optimizer: Literal["sgd", "adadelta", "adamw", "muon"] = "sgd"
    lr: float = Field(gt=0, allow_inf_nan=False)
    plain_lr_factor: float = _switch(1.0, gt=0, description="rate of what is no filter bank or matrix, over lr; Muon only")
    last_lr_factor: float | None = _switch(None, gt=0, description="rate of the last layer, over lr; Muon only; null: as plain")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov; SGD and Muon only")
    plain_momentum: float | None = _switch(None, ge=0, lt=1, description="of what Muon leaves to SGD; null: momentum")
    rho: float = Field(0.9, gt=0, lt=1, description="decay of the running averages; Adadelta only")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    lr_warmup: float = Field(0.0, ge=0, lt=1, description="share of the budget over which the rate rises linearly from 0")
    clip_gradient: float | None = Field(None, gt=0, allow_inf_nan=False, description="most that a step's gradient norm may be")
    batch_size: int = Field(ge=1, le=2**24)
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast; losses always from float32 logits")
    channels_last: bool = Field(False, description="weights and images in channels-last memory: faster convolutions")
    compile: bool = Field(False, description="torch.compile, with its warm-up off the clock; seldom pays on a CPU")
    stored: bool = _switch(False, description="training images stay on disk (a folder of images or of .npy arrays)")
    lookahead: int = _switch(0, ge=0, le=64, description="steps that a mini-batch is drawn ahead, to be read meanwhile")
    cuda_graphs: bool = _switch(False, description="with compile, on a GPU: steps are replayed as CUDA graphs")
    augment: Augment = Augment()  # pyright: ignore[reportCallIssue]
    probe_mode: Literal["eval", "train"] = "eval"
    budget: Annotated[Budget, BeforeValidator(_budget)]
    evaluations: int = Field(20, ge=2, le=1000, description="evaluations, evenly over the budget")
    views: Literal["plain", "mirrored", "shifted"] = _switch(
        "plain", description="what accuracies average over: the image; its mirror too; both shifted by a pixel as well"
    )
    robust: Robust | None = _switch(None, description="accuracy under attack at the end of every run; null measures none")

    @field_validator("data", "model")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value


class Study(_Strict):
    """A grid of runs: samplers x scenarios x seeds under one recipe, at one budget or several."""

    name: str
    about: str = ""
    recipe: Recipe
    seeds: list[int] = Field(min_length=1)
    budgets: list[float] = Field([], description="shares of the recipe's budget, each with its own decayed schedule")
    placebos: bool = Field(False, description="beside every sampler that selects, an arm that selects at random")
    samplers: list[Plugin] = Field(min_length=1)
    scenarios: list[Plugin] = Field(min_length=1)
    device: str = "auto"
    run_limit: float | None = Field(None, gt=0, allow_inf_nan=False, description="seconds a run may take in one go; null: any")

    @field_validator("budgets")
    @classmethod
    def _are_shares(cls, value: list[float]) -> list[float]:
        if any(not 0 < share <= 1000 for share in value) or len(set(value)) < len(value):
            raise ValueError("distinct shares of the recipe's budget, each above 0, as in [0.25, 0.5, 1, 2]")
        return sorted(value)

    def recipe_of(self, scenario: Plugin) -> Recipe:
        """The study's recipe with what this scenario changes."""
        return Recipe.model_validate({**self.recipe.model_dump(), **scenario.recipe})

    @field_validator("device")
    @classmethod
    def _names_a_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError("allowed: auto, cpu, cuda, cuda:0, cuda:1, ...")
        return value

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not value or value.startswith(".") or any(character in value for character in "/\\\0"):
            raise ValueError("it names a folder: no slashes, no leading dot")
        return value


class ResolvedPlugin(_MaybePlacebo):
    """An arm or scenario with every hyperparameter spelled out, defaults included."""

    label: str
    kind: str
    settings: dict[str, Any]
    source: str = Field("", description="what else decides its numbers: a third party's code, a file that it reads")


class RunSettings(_Strict):
    """Everything that decides a run's numbers; its hash is the run's identity."""

    rules: str
    sampler: ResolvedPlugin
    learner: ResolvedPlugin | None = _switch(None)
    scenario: ResolvedPlugin
    recipe: Recipe
    seed: int
    device: str
    sources: dict[str, str] = Field({}, description="what else decides the numbers: the user's own data, a third party's network")
