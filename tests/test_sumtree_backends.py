"""Two backends, one tree: equal bits on the CPU, no wait for the host anywhere, and a reason where one cannot be had."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from robuststream.errors import UserError
from robuststream.sumtree import SumTree, _library
from robuststream.sumtree._library import VARIANTS, NativeWalk, load_library
from robuststream.sumtree._uniforms import Uniforms
from test_sumtree import native_or_skip, rng, wild


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1000, 30_001, 1_500_000])
def test_every_variant_draws_and_sums_as_torch_does(variant: str, dtype: torch.dtype, size: int) -> None:
    native_or_skip()
    pure, native = (SumTree(size, dtype=dtype, backend=backend) for backend in ("torch", "native"))
    try:
        native._native = NativeWalk(native._layers, variant)
    except UserError as why:
        pytest.skip(str(why))
    generator = rng(size)
    for n in (1, 7, 128, 1001, 2000, 128, 30_000, 512, 70_000, 128):  # the more, the more layers are summed whole
        index, values = torch.randint(size, (n,), generator=generator), wild(n, generator)
        for tree in (pure, native):
            tree.update(index, values)
        for ours, theirs in zip((*pure._layers.flat, pure.total), (*native._layers.flat, native.total), strict=True):
            assert torch.equal(ours, theirs)
        for m in (n, 30_000):  # what was kept for one n is right for another
            assert torch.equal(pure.draw(m, rng(n)), native.draw(m, rng(n)))
    assert native.draw(9, rng(1)).unique().numel() > 1


VIEWS = {"unsqueeze", "squeeze", "unbind", "select", "slice", "view", "t", "split", "detach"}
NO_KERNEL = VIEWS | {"empty", "device"}


class Dispatches(TorchDispatchMode):
    """Counts operations that would be kernels on a device: all but views and bare allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += func.overloadpacket.__name__ not in NO_KERNEL
        return func(*args, **(kwargs or {}))


def dispatches(act: Callable[[], object]) -> int:
    with Dispatches() as mode:
        act()
    return mode.count


BUDGETS = {
    # device, size: draw, update, stratified draw, distinct draw of 16
    ("cpu", 1_000): (8, 6, 26, 16),
    ("cpu", 30_000): (14, 11, 45, 36),
    ("cpu", 100_000): (18, 14, 64, 56),
    ("cpu", 1_000_000): (19, 14, 64, 56),
    ("cpu", 10_000_000): (23, 17, 83, 76),
    ("meta", 30_000): (16, 17, 48, 36),
    ("meta", 100_000_000): (34, 25, 108, 96),
}
"""Kernels per call of the torch backend, n = 128. A layer costs 5 to draw from (6 off the CPU) and 3 to update, all together a
shift; one whose running sums are kept costs 4 and 2. Float32 leaves cost the CPU one more, which `cumsum` would hide;
what is counted is counted once in 64 calls there."""


@pytest.mark.parametrize(("device", "size"), BUDGETS)
def test_the_torch_backend_never_waits_and_keeps_its_budget(device: str, size: int) -> None:
    """Fake tensors have no values: whatever asked for one would raise."""
    with FakeTensorMode():
        tree = SumTree(size, device, backend="torch" if device == "cpu" else "auto")
        assert tree.backend == "torch"
        index = torch.zeros(128, dtype=torch.int64, device=device)
        values = torch.zeros(128, device=device)
        generator = torch.Generator()
        calls = (
            lambda: tree.draw(128, generator),
            lambda: tree.update(index, values),
            lambda: tree.draw(128, generator, stratified=True),
            lambda: tree.draw_distinct(16, generator),
        )
        for call in calls:  # the first takes the room that the others work in
            call()
        assert tuple(map(dispatches, calls)) == BUDGETS[device, size]
        tree.probability(index)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_takes_all_values_does_not_wait_either(device: str) -> None:
    with FakeTensorMode():
        tree = SumTree(30_000, device)
        assert tree.backend == "torch"  # a fake tensor has no address for the native one
        tree.scale(0.5)
        tree.probability()
        tree.load_state_dict(tree.state_dict())


def test_a_wait_for_the_host_would_be_seen() -> None:
    with FakeTensorMode(), pytest.raises(Exception, match="_local_scalar_dense"):
        SumTree(2000, "meta").total.item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.gpu
def test_on_cuda_a_graph_draws_and_updates_without_a_wait() -> None:
    tree = SumTree(1_000_000, "cuda", fill=0.0)
    index = torch.arange(0, 1_000_000, 1000, device="cuda")
    tree.update(index, torch.rand(1000, device="cuda"))
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            drawn = tree.draw(128, generator)
            tree.update(drawn, torch.full((128,), 0.5, device="cuda"))
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            drawn = tree.draw(128, generator)
            tree.update(drawn, torch.full((128,), 0.25, device="cuda"))
        seen = []
        for _ in range(20):
            graph.replay()
            seen.append(drawn.clone())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all((batch % 1000 == 0).all() for batch in seen)  # zero is never drawn
    assert len({tuple(batch.tolist()) for batch in seen}) == 20
    assert (tree.values[seen[-1]] == 0.25).all()
    kept = [layer.clone() for layer in tree._layers.flat]
    tree.rebuild()
    assert all(torch.equal(a, b) for a, b in zip(kept, tree._layers.flat, strict=True))


def test_a_missing_or_foreign_library_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is not built"):
        load_library(tmp_path)
    (tmp_path / "_native.so").write_bytes(b"no library")
    with pytest.raises(UserError, match="does not load"):
        load_library(tmp_path)
    monkeypatch.setattr(_library, "load_library", lambda: load_library(tmp_path))
    assert SumTree(5).backend == "torch"
    with pytest.raises(UserError, match="does not load"):
        SumTree(5, backend="native")


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    native_or_skip()
    monkeypatch.setattr(_library.ctypes, "sizeof", lambda _: 8)
    with pytest.raises(UserError, match="of another version"):
        load_library()


def test_the_library_makes_the_numbers_of_torch() -> None:
    """Bit for bit, whatever was taken from the generator before, and so is what is taken after."""
    native_or_skip()
    fast = Uniforms(load_library(), layers=3)
    assert fast._many == 1024
    theirs, ours = rng(3), rng(3)
    for n in (0, 1, 400, 341, 342, 20_000, 7, 20_000):
        fast._many = 0
        assert torch.equal(fast(n, ours), torch.rand(3, n, generator=theirs, dtype=torch.float64))
        for each in (torch.rand(3, generator=g) for g in (theirs, ours)), (torch.randn(1, generator=g) for g in (theirs, ours)):
            assert torch.equal(*each)
    assert torch.equal(theirs.get_state(), ours.get_state())


def test_a_torch_that_makes_other_numbers_is_left_to_make_them(monkeypatch: pytest.MonkeyPatch) -> None:
    native_or_skip()
    library = load_library()
    other = lambda *args: ctypes.memset(args[2], 0, 8)  # noqa: E731
    monkeypatch.setattr(library, "sumtree_uniform", other, raising=False)
    numbers = Uniforms(library, layers=2)
    assert torch.equal(numbers(5000, rng(1)), torch.rand(2, 5000, generator=rng(1), dtype=torch.float64))
