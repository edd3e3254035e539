"""Slices in several processes draw as one tree: spawned gloo processes, and chi-square over all that they drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from robuststream.sumtree import ShardedDraws, SumTree

SIZE, BATCH, STEPS = 4003, 1024, 100


def pool_values() -> torch.Tensor:
    """(N,) values over six decades; a quarter zero, and more weight at the end, so that quotas differ."""
    values = 10 ** (6 * torch.rand(SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 3)
    values[::4] = 0.0
    values[SIZE // 2 :] *= 3
    return values.float()


def slice_of(rank: int, processes: int) -> slice:
    edges = np.linspace(0, SIZE, processes + 1).astype(int)
    return slice(int(edges[rank]), int(edges[rank + 1]))


def work(rank: int, folder: str) -> None:
    """One of four processes: first the pair 0 and 1 holds the pool, then all four do."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=4)
    pair = dist.new_group([0, 1])
    if rank < 2:
        torch.save(drawn_by(rank, 2, pair), Path(folder) / f"{rank} of 2.pt")
    torch.save(drawn_by(rank, 4, None), Path(folder) / f"{rank} of 4.pt")
    dist.destroy_process_group()


def drawn_by(rank: int, processes: int, group: dist.ProcessGroup | None) -> dict[str, Any]:
    """Global indices drawn from the pool, from slices changed by one process alone, and from all zeros."""
    part = pool_values()[slice_of(rank, processes)]
    everyone = torch.arange(len(part))
    tree = SumTree(len(part))
    sharded = ShardedDraws(tree, torch.Generator().manual_seed(7), group)
    own = torch.Generator().manual_seed(100 + rank)
    saved: dict[str, Any] = {"first": sharded.first}
    for name, factor in (("before", 1.0), ("after", float(rank + 1)), ("zero", 0.0)):
        tree.update(everyone, part * factor)
        saved[name] = [sharded.draw(BATCH, own) + sharded.first for _ in range(STEPS)]
        saved[f"{name} probability"] = sharded.probability(everyone)
    return saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four spawned processes saved."""
    folder = tmp_path_factory.mktemp("sharded")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=4)
    return folder


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", ["before", "after", "zero"])
def test_slices_have_the_frequencies_of_one_tree(folder: Path, processes: int, name: str) -> None:
    saved = [torch.load(folder / f"{rank} of {processes}.pt") for rank in range(processes)]
    quotas = torch.tensor([[len(batch) for batch in one[name]] for one in saved])
    assert (quotas.sum(0) == BATCH).all()
    assert quotas[0].unique().numel() > 1  # a multinomial, not a fixed share
    shares = pool_values().double() if name != "zero" else torch.ones(SIZE, dtype=torch.float64)
    for rank in range(processes):
        assert saved[rank]["first"] == slice_of(rank, processes).start
        shares[slice_of(rank, processes)] *= rank + 1 if name == "after" else 1
    shares /= shares.sum()
    torch.testing.assert_close(torch.cat([one[f"{name} probability"] for one in saved]), shares, rtol=1e-5, atol=0.0)
    drawn = torch.cat([batch for one in saved for batch in one[name]])
    counts, expected = torch.bincount(drawn, minlength=SIZE), shares * len(drawn)
    assert (counts[shares == 0] == 0).all()
    large = expected >= 5
    observed = torch.cat([counts[large], counts[~large].sum()[None]])
    foreseen = torch.cat([expected[large], expected[~large].sum()[None]])
    assert foreseen[-1] == 0 or foreseen[-1] > 5
    kept = foreseen > 0
    assert chi_square(observed[kept], foreseen[kept]) > 1e-3


def chi_square(observed: torch.Tensor, expected: torch.Tensor) -> float:
    """The p-value; a process that is spawned need not import scipy."""
    from scipy import stats

    return float(stats.chisquare(observed.numpy(), expected.numpy()).pvalue)
