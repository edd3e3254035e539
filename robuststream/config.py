"""Settings: what a study, a recipe and a run consist of, and what each value may be. No torch here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

UNITS = ("epochs", "steps", "backwards", "seconds")


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


class Plugin(_Strict):
    """One arm or scenario: its label in tables, the plug-in's name, and the hyperparameters that were given."""

    label: str = Field(min_length=1, max_length=60)
    kind: str
    given: dict[str, Any] = {}
    learner: Plugin | None = Field(None, description="an arm's objective; None is plain cross-entropy")


class Augment(_Strict):
    """Drawn anew for every presented example, repeats included."""

    crop: int = Field(0, ge=0, le=16, description="pixels of zero padding around a random crop of the original size")
    flip: bool = Field(False, description="mirror left-right with probability 1/2")
    alternate: bool = _switch(False, description="with flip: an example is mirrored every second time, the first at random")


class Recipe(_Strict):
    """Data set, network, optimizer, schedule, augmentation, budget."""

    name: str = "unnamed"
    data: str = Field(description="a data set's name, a file.npz, or a folder of images")
    train_size: int | None = Field(None, ge=1, description="use only so many training examples, stratified")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training data set aside, stratified, clean")
    model: str
    model_settings: dict[str, Any] = {}
    optimizer: Literal["sgd", "adadelta", "adamw", "muon"] = "sgd"
    lr: float = Field(gt=0, allow_inf_nan=False)
    plain_lr_factor: float = _switch(1.0, gt=0, description="rate of what is no filter bank or hidden matrix, over lr; Muon only")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov; SGD and Muon only")
    rho: float = Field(0.9, gt=0, lt=1, description="decay of the running averages; Adadelta only")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    lr_warmup: float = Field(0.0, ge=0, lt=1, description="share of the budget over which the rate rises linearly from 0")
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

    @field_validator("data", "model")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value


class Study(_Strict):
    """A grid of runs: samplers x scenarios x seeds under one recipe."""

    name: str
    about: str = ""
    recipe: Recipe
    seeds: list[int] = Field(min_length=1)
    samplers: list[Plugin] = Field(min_length=1)
    scenarios: list[Plugin] = Field(min_length=1)
    device: str = "auto"

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


class ResolvedPlugin(_Strict):
    """An arm or scenario with every hyperparameter spelled out, defaults included."""

    label: str
    kind: str
    settings: dict[str, Any]
    source: str = Field("", description="what else decides its numbers: a third party's code, a file that it reads")


class RunSettings(_Strict):
    """Everything that decides a run's numbers; its hash is the run's identity."""

    rules: str
    sampler: ResolvedPlugin
    learner: ResolvedPlugin | None = Field(None, exclude_if=lambda value: value is None)
    scenario: ResolvedPlugin
    recipe: Recipe
    seed: int
    device: str
    sources: dict[str, str] = Field({}, description="what else decides the numbers: the user's own data, a third party's network")
