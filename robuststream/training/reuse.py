"""Learning from some of the examples that one forward pass has just seen, without a second one: its activations are kept.

The network's own code runs a second time, on the kept examples, but nothing is computed: every operation is answered with what
stands for the kept rows of its first result, while autograd records it as ever. The backward pass is then that of a forward pass
over the kept examples alone, in every shape, and costs as much.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from robuststream.config import Recipe
from robuststream.dispatch import Watching
from robuststream.errors import UserError

aten = torch.ops.aten

_WITH_WEIGHTS = {aten.convolution.default: 0, aten.addmm.default: 1, aten.mm.default: 0}
"""The place of the one argument that may be of examples."""

_ROW_BY_ROW = {
    *(aten.relu.default, aten.gelu.default, aten.silu.default, aten.tanh.default, aten.sigmoid.default, aten.leaky_relu.default),
    *(aten.elu.default, aten.hardtanh.default, aten.threshold.default, aten.clamp.default, aten.max_pool2d_with_indices.default),
    *(aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default, aten.native_group_norm.default, aten.native_layer_norm.default),
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.add.Scalar, aten.mean.dim),
    *(
        aten._to_copy.default,
        aten.clone.default,
        aten._unsafe_view.default,
        aten.empty_like.default,
        aten.constant_pad_nd.default,
    ),
}
"""What gives for every example something that depends on no other."""


def require_reusable(recipe: Recipe, network: nn.Module, hostile: bool, processes: int) -> None:
    """Raises UserError where a sampler wants activations reused and the run cannot have it."""
    cannot = {
        "recipe.compile=true (a compiled network shows no activations)": recipe.compile,
        f"recipe.lookahead={recipe.lookahead} (the network would have learned between)": recipe.lookahead > 0,
        "a scenario that perturbs mini-batches (they are others than the candidates)": hostile,
        "several processes (each has a slice of the candidates only)": processes > 1,
        f"model '{recipe.model}' (batch normalisation mixes the kept examples with the others)": any(
            isinstance(module, _BatchNorm) for module in network.modules()
        ),
    }
    if reason := next((what for what, true in cannot.items() if true), None):
        raise UserError(f"reused activations are not possible with {reason}")


class Seen(nn.Module):
    """One training forward pass over (m, C, H, W) images; called on the kept of them, it answers without computing."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.network, self.images = [network], images  # in a list: whose parameters these are is not our business
        self._tape = _Recording(images)
        with torch.enable_grad(), self._tape:  # with gradients as in the replay, so that both take the same kernels
            self.logits = network(images, ready=True).detach()

    def keep(self, places: Tensor) -> Tensor:
        """The (k, C, H, W) images at these places, which are the next ones to be learned."""
        self._places = places
        return _rows(self.images, places)

    def forward(self, images: Tensor) -> Tensor:
        """(k, K) logits of what `keep` gave, with the graph of a forward pass over them."""
        replay = _Replay(images, self._tape, self._places)
        with saved_tensors_hooks(replay.pack, replay.unpack), replay:
            return self.network[0](images, ready=True)


class _Following(Watching):
    """Knows which tensors come from examples, by their memory; it is alive as long as this is."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.alive: dict[int, Tensor] = {}
        self.follow(images)

    def follow(self, result: Any) -> Any:
        for tensor in _tensors(result):
            self.alive.setdefault(tensor.untyped_storage()._cdata, tensor)
        return result

    def concerned(self, given: Any) -> list[int]:
        """Places of the arguments that come from examples."""
        return [place for place, each in enumerate(given) if any(map(self._follows, _tensors(each)))]

    def _follows(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.alive


class _Recording(_Following):
    """Keeps the result of every operation on examples. Raises UserError for one that may mix them."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.size = len(images)
        self.results: list[tuple[OpOverload, Any]] = []

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        result = func(*args, **(kwargs or {}))
        places = self.concerned(args)
        if not places or func.is_view or func._schema.is_mutable:
            return self.follow(result) if places else result
        if not (places == [_WITH_WEIGHTS.get(func)] or func in _ROW_BY_ROW) or any(
            len(tensor) != self.size for tensor in _tensors(result)
        ):
            raise UserError(f"reused activations are not possible with this network: its '{func}' may mix examples")
        self.results.append((func, result))
        return self.follow(result)


class _Replay(_Following):
    """Answers every operation on examples with memory of the right shape, which is filled where somebody wants to read it:
    autograd what it saved for the backward pass, and the caller the last result."""

    def __init__(self, images: Tensor, recording: _Recording, places: Tensor) -> None:
        super().__init__(images)
        self.results, self.places, self.next = recording.results, places, 0
        self.recorded: dict[int, Tensor] = {}  # by the memory that stands for it
        self.filled: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        kwargs = kwargs or {}
        concerned = bool(self.concerned(args))
        if func._schema.is_mutable and (concerned or "generator" in kwargs):
            return args[0]  # what was recorded bears this change already; what was drawn must not be drawn again
        if not concerned or func.is_view:
            result = func(*args, **kwargs)
            return self.follow(result) if concerned else result
        before, result = self.results[self.next]
        assert func is before, f"{func} where the first pass had {before}"
        self.next += 1
        standing = [self._standing(tensor) for tensor in _tensors(result)]
        return standing[0] if isinstance(result, Tensor) else tuple(standing)

    def _standing(self, tensor: Tensor) -> Tensor:
        """(k, ...) memory for the kept rows of (m, ...)."""
        if self.next == len(self.results):
            return self.follow(_rows(tensor, self.places))
        shape, k = tensor.shape[1:], len(self.places)
        channels_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        stand = tensor.new_empty((k, *shape))
        if channels_last:
            stand = tensor.new_empty((k, *shape[1:], shape[0])).permute(0, 3, 1, 2)
        self.recorded[stand.untyped_storage()._cdata] = tensor
        return self.follow(stand)

    def pack(self, saved: Tensor) -> Any:
        """What autograd keeps until the backward pass: of examples no rows, but where they are to be found."""
        memory = saved.untyped_storage()._cdata
        return (memory, saved.shape, saved.stride(), saved.storage_offset()) if memory in self.recorded else saved

    def unpack(self, packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        memory, *view = packed
        if memory not in self.filled:
            self.filled[memory] = _rows(self.recorded[memory], self.places)
        return self.filled[memory].as_strided(*view)


def _tensors(given: Any) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    return [each for each in given if isinstance(each, Tensor)] if isinstance(given, (list, tuple)) else []


def _rows(tensor: Tensor, places: Tensor) -> Tensor:
    """(k, ...) of (m, ...), in the same order of memory: every example is one run of it."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).index_select(0, places).permute(0, 3, 1, 2)
    return tensor.index_select(0, places)
