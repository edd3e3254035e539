"""What the files of a study must hold for a report to be made of them: types and ranges, checked on reading. No torch here.

More keys than these may be there. A file of another person's is answered with the key that is wrong, never with a traceback.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import core_schema
from typing_extensions import TypedDict

from robuststream.errors import UserError


def _share_or_nan(value: float) -> float:
    """What was never measured, or is lost, may stand as NaN: it leaves a gap in the report. So may a figure's."""
    if value < 0 or value > 1:
        raise ValueError("input should be a share of 0 to 1")
    return value


def _nan(value: float) -> float:
    if value == value:
        raise ValueError
    return value


_FIGURE = core_schema.union_schema(
    [  # the usual ones first: ten thousand runs have millions of figures, and Python is asked of NaN alone
        core_schema.float_schema(ge=-1e30, le=1e30, strict=True),
        core_schema.none_schema(),
        core_schema.no_info_after_validator_function(_nan, core_schema.float_schema(strict=True)),
    ],
    mode="left_to_right",
    custom_error_type="figure",
    custom_error_message="Input should be a number of at most 1e30 either way, or null",
)
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Loss = float | None  # a run that diverges has any: curves leave a gap where it is no finite number
_Figure = Annotated[float | None, GetPydanticSchema(lambda *_: _FIGURE)]
_Measured = Annotated[float, AfterValidator(_share_or_nan)]
_Duration = Annotated[float, Field(ge=0)]  # infinite where nobody knows
_STRICT = ConfigDict(strict=True)
_Named = dict[str, Any]


class _Plugin(TypedDict):
    label: str
    kind: str
    given: _Named


class _Resolved(TypedDict):
    label: str
    kind: str
    settings: _Named


class _Budget(TypedDict):
    amount: Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
    unit: str


class _Recipe(TypedDict):
    data: str
    model: str
    budget: _Budget
    batch_size: NotRequired[Annotated[int, Field(ge=1, lt=2**63)]]
    evaluations: NotRequired[Annotated[int, Field(ge=1, lt=2**63)]]


class StudyFile(TypedDict):
    """study.json."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    rules: str
    name: str
    about: NotRequired[str]
    command: NotRequired[str]
    device: NotRequired[str]
    recipe: _Recipe
    seeds: Annotated[list[int], Field(min_length=1)]
    samplers: Annotated[list[_Plugin], Field(min_length=1)]
    scenarios: Annotated[list[_Plugin], Field(min_length=1)]
    runs: list[str]


class _RunRecipe(TypedDict):
    budget: _Budget


class SettingsFile(TypedDict):
    """settings.json."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    sampler: _Resolved
    learner: NotRequired[_Resolved | None]
    scenario: _Resolved
    recipe: _RunRecipe
    seed: int


class _Histogram(TypedDict):
    edges: list[Annotated[float, Field(allow_inf_nan=False)]]
    stored: list[_Amount]
    fresh: list[_Amount]


class Evaluation(TypedDict):
    """A line of records.jsonl."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    step: _Count
    spent: _Amount
    forwards: _Amount
    backwards: _Amount
    flops: _Amount
    seconds: _Amount
    validation_accuracy: _Share
    lr: NotRequired[_Loss]
    train_loss: NotRequired[_Loss]
    validation_loss: NotRequired[_Loss]
    wrong_drawn: NotRequired[_Figure]
    enrichment: NotRequired[_Figure]
    memorised: NotRequired[_Figure]
    coverage: NotRequired[_Figure]
    ess: NotRequired[_Figure]
    age: NotRequired[_Figure]
    concordance: NotRequired[_Figure]
    histogram: NotRequired[_Histogram | None]


class _Accuracies(TypedDict):
    validation_accuracy: _Share
    test_accuracy: _Measured


class _Last(_Accuracies):
    test_per_class: NotRequired[list[_Share | None]]


class _Totals(TypedDict):
    steps: _Count
    forwards: dict[str, _Amount]
    backwards: _Amount
    flops: _Amount
    flops_per_forward: NotRequired[_Amount]
    flops_per_backward: NotRequired[_Amount]
    auxiliary: NotRequired[dict[str, _Amount]]


class _Seconds(TypedDict):
    train: _Amount
    phases: dict[str, _Amount]
    evaluation: _Duration
    checkpoint: _Duration
    compile: _Duration


class _Data(TypedDict):
    num_classes: Annotated[int, Field(ge=2, lt=2**24)]
    train: NotRequired[_Count]
    hash: str


class _Labels(TypedDict):
    wrong: _Count
    rate: _Share
    hash: str
    matrix: list[list[_Count]]
    per_class: list[_Share]


class ResultFile(TypedDict):
    """result.json."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    diverged: bool
    last: _Last
    best: _Accuracies
    totals: _Totals
    seconds: _Seconds
    data: _Data
    labels: _Labels
    counters: dict[str, _Count]
    scenario: dict[str, _Figure]
    provenance: _Named


Shape = TypeVar("Shape")

STUDY, SETTINGS, RESULT = TypeAdapter(StudyFile), TypeAdapter(SettingsFile), TypeAdapter(ResultFile)
EVALUATIONS = TypeAdapter(list[Evaluation])
"""All lines at once: ten thousand runs have hundreds of thousands."""


def held_to(shape: TypeAdapter[Any], value: Any, where: object) -> Any:
    """The value itself, once it is known to have the shape. Raises UserError with the first key that does not fit."""
    try:
        shape.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {place} cannot be right ({first['msg'].lower()}); restore it, or run it again") from None
    if shape is RESULT:
        _of_one_size(value, where)
    return value


def _of_one_size(result: dict[str, Any], where: object) -> None:
    """Whatever is told by class has as many entries as there are classes."""
    size, labels = result["data"]["num_classes"], result["labels"]
    by_class = {"labels.matrix": labels["matrix"], "labels.per_class": labels["per_class"]}
    if "test_per_class" in result["last"]:
        by_class["last.test_per_class"] = result["last"]["test_per_class"]
    by_class |= {f"labels.matrix.{place}": row for place, row in enumerate(labels["matrix"])}
    for place, entries in by_class.items():
        if len(entries) != size:
            raise UserError(f"{where}: {place} cannot be right (there are {size} classes); restore it, or run it again")
