"""The trees of reinforcement learning: torchrl, tianshou, cpprb."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from contenders._base import Contender, generator


class TorchrlTree(Contender):
    name = "torchrl tree"
    about = "torchrl's SumSegmentTreeFp32 without its sampler"
    package = "torchrl"
    modules = ("torchrl._torchrl",)
    room = 32

    def __init__(self, values: Tensor, seed: int) -> None:
        from torchrl._torchrl import SumSegmentTreeFp32

        self.size, self.generator = len(values), generator(seed)
        self.tree = SumSegmentTreeFp32(self.size)
        self.tree[torch.arange(self.size)] = values

    def draw(self, n: int) -> Tensor:
        mass = torch.rand(n, generator=self.generator) * self.tree.query(0, self.size)
        return self.tree.scan_lower_bound(mass).clamp_max_(self.size - 1)

    def update(self, index: Tensor, values: Tensor) -> None:
        self.tree[index] = values


class _Stored:
    """What PrioritizedSampler asks of a storage, and nothing that costs time."""

    ndim, device = 1, torch.device("cpu")

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class TorchrlSampler(Contender):
    name = "PrioritizedSampler"
    about = "torchrl's PrioritizedSampler, alpha = beta = 1"
    package = "torchrl"
    modules = ("torchrl.data.replay_buffers.samplers",)
    room = 48

    def __init__(self, values: Tensor, seed: int) -> None:
        from torchrl.data.replay_buffers.samplers import PrioritizedSampler

        self.storage: Any = _Stored(len(values))
        self.sampler = PrioritizedSampler(len(values), alpha=1.0, beta=1.0)
        self.sampler.update_priority(torch.arange(len(values)), values)

    def draw(self, n: int) -> Tensor:
        index, _ = self.sampler.sample(self.storage, n)
        return index

    def update(self, index: Tensor, values: Tensor) -> None:
        self.sampler.update_priority(index, values)


class Tianshou(Contender):
    name = "tianshou"
    about = "tianshou's SegmentTree, numba, float64"
    package = "tianshou"
    modules = ("tianshou.data.utils.segtree",)
    speaks_numpy = True
    room = 48

    def __init__(self, values: Tensor, seed: int) -> None:
        from tianshou.data.utils.segtree import SegmentTree

        self.tree, self.random = SegmentTree(len(values)), np.random.default_rng(seed)
        # Filled level by level: its own assignment of all N values takes a minute where this takes a second.
        sums, first = self.tree._value, self.tree._bound
        sums[first : first + len(values)] = values.numpy()
        while first > 1:
            sums[first // 2 : first] = sums[first : 2 * first : 2] + sums[first + 1 : 2 * first : 2]
            first //= 2

    def draw(self, n: int) -> Any:
        return self.tree.get_prefix_sum_idx(self.random.random(n) * self.tree.reduce())

    def update(self, index: np.ndarray, values: np.ndarray) -> None:
        self.tree[index] = values


class Cpprb(Contender):
    name = "cpprb"
    about = "cpprb's PrioritizedReplayBuffer with one byte per transition, alpha = 1, beta = 0"
    package = "cpprb"
    modules = ("cpprb",)
    speaks_numpy = True
    room = 48

    def __init__(self, values: Tensor, seed: int) -> None:
        from cpprb import PrioritizedReplayBuffer

        byte = {"x": {"dtype": np.int8}}
        self.buffer = PrioritizedReplayBuffer(len(values), byte, alpha=1.0, eps=0.0)
        self.buffer.add(x=np.zeros(len(values), np.int8), priorities=values.numpy())

    def draw(self, n: int) -> np.ndarray:
        return self.buffer.sample(n, beta=0.0)["indexes"]

    def update(self, index: np.ndarray, values: np.ndarray) -> None:
        self.buffer.update_priorities(index, values)

    @classmethod
    def tensor(cls, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.view(np.int64))

    @classmethod
    def array(cls, tensor: Tensor) -> np.ndarray:
        array = tensor.numpy()
        return array.view(np.uint64) if array.dtype == np.int64 else array
