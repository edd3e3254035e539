"""The entropy of predictions, in C and in torch, beside a twin in exact fractions of a digit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from robuststream import entropy as room
from robuststream.contracts import LOSS_CEILING, Signals
from robuststream.entropy import entropy as of_outputs

CEILING = 1e4
NATIVE = pytest.mark.skipif(room._library() is None, reason="the native entropy is not built")


def entropy(outputs: Tensor) -> Tensor:
    return of_outputs(outputs, CEILING)


def twin(row: list[float]) -> float:
    """log Z + sum of p (max - x), with the largest left out of the sum whose logarithm is taken: right for certain ones."""
    top, place = max(row), row.index(max(row))
    rest = [(x - top, math.exp(x - top)) for i, x in enumerate(row) if i != place]
    z = math.fsum(e for _, e in rest)
    return math.log1p(z) - math.fsum(d * e for d, e in rest) / (1.0 + z)


def twins(logits: Tensor) -> Tensor:
    return torch.tensor([twin(row) for row in logits.double().tolist()], dtype=torch.float64)


def logits(m: int, classes: int, scale: float) -> Tensor:
    return (scale * torch.randn(m, classes, generator=torch.Generator().manual_seed(classes))).clamp(-1e4, 1e4)


@NATIVE
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 26, 100])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 5.0, 20.0, 100.0, 1e4])
def test_native_is_right_to_the_last_digit(classes: int, scale: float) -> None:
    given = logits(131, classes, scale)
    assert entropy(given).dtype == torch.float32
    found, wanted = entropy(given).double(), twins(given)
    assert ((found - wanted).abs() <= 1e-7 * wanted + 1e-37).all()
    assert (found <= math.log(classes) * (1 + 1e-7)).all()


@NATIVE
def test_native_and_torch_are_one_law(monkeypatch: pytest.MonkeyPatch) -> None:
    given = logits(500, 10, 2.0)
    native = entropy(given)
    monkeypatch.setattr(room, "_library", lambda: None)
    assert ((entropy(given) - native).abs() <= 4e-7 * native + 2e-7).all()
    assert not torch.equal(entropy(given), native)  # it was the other one


@NATIVE
def test_a_row_has_the_same_bits_wherever_it_stands() -> None:
    given = logits(97, 10, 3.0)
    whole = entropy(given)
    assert torch.equal(torch.cat([entropy(row[None]) for row in given]), whole)
    assert torch.equal(entropy(given.t().contiguous().t()), whole)
    assert entropy(given[:0]).shape == (0,)


def test_ties_and_certainty() -> None:
    given = torch.tensor([[5.0, 5.0, 5.0, 5.0], [1e4, -1e4, -1e4, -1e4], [7.0, 7.0, -1e4, -1e4]])
    assert entropy(given).tolist() == pytest.approx([math.log(4), 0.0, math.log(2)], rel=1e-6, abs=0)


@pytest.mark.parametrize("native", [pytest.param(True, marks=NATIVE), False])
def test_what_is_not_finite_counts_as_zero_or_as_the_ceiling(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spoilt row counts as it would with the replacements, wherever it stands, and the others as ever."""
    if not native:
        monkeypatch.setattr(room, "_library", lambda: None)
    given = logits(23, 10, 2.0)
    wanted = given.clone()
    for row, (column, bad, good) in enumerate(
        (column, bad, good) for column in (0, 4, 9) for bad, good in ((math.nan, 0.0), (math.inf, 1e4), (-math.inf, -1e4))
    ):
        given[2 * row + 1, column], wanted[2 * row + 1, column] = bad, good
    given[0], wanted[0] = torch.full((10,), -math.inf), torch.full((10,), -1e4)
    assert torch.equal(entropy(given), entropy(wanted))
    assert entropy(given).isfinite().all()
    signals = Signals.of(torch.arange(23), torch.zeros(23, dtype=torch.int64), given)
    assert LOSS_CEILING == CEILING
    assert torch.equal(signals.entropy, entropy(signals.logits))
    assert torch.equal(signals.logits, wanted)


def test_other_tensors_take_the_way_of_torch() -> None:
    wide = logits(7, 5, 1.0).double()
    assert entropy(wide).dtype == torch.float64
    with FakeTensorMode():
        assert entropy(torch.zeros(4, 3)).shape == (4,)


def test_a_missing_or_foreign_library_is_done_without(tmp_path: Path) -> None:
    assert room._library(tmp_path) is None
    (tmp_path / "_entropy.so").write_bytes(b"no library")
    assert room._library.__wrapped__(tmp_path) is None
