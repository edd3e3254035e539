"""How the network computes: precision, memory format, compilation. The recipe's switches; every pass goes through here alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robuststream.config import Recipe
from robuststream.data.scale import Scale
from robuststream.models._layers import Dropout, Normalise


class Precise(nn.Module):
    """The network under the recipe's `precision`, `channels_last` and `compile`: (n, C, H, W) float32 to (n, K) float32 logits.

    `scale` is what the network's own first layer makes of bytes: images that were fetched on it are `ready`, and pass it by.

    Weights stay float32; bf16 is autocast, so that optimizers and stored values lose nothing.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, device_type: str) -> None:
        super().__init__()
        if recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network
        modules = list(network.modules())
        # Every probe and evaluation changes the mode twice: to walk the tree for it takes as long as a small network's layer.
        self._modules_in_order = modules if all(type(each).train is nn.Module.train for each in modules) else None
        self.bf16, self.device_type = recipe.precision == "bf16", device_type
        self.memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        # Only the forward is compiled: names of weights, and so checkpoints, are those of the plain network.
        normalise, rest = network.children()
        assert isinstance(normalise, Normalise)
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        self.scale = Scale(normalise.mean, normalise.std, dtype, planar=not recipe.channels_last)
        self._plain = {False: network.forward, True: rest.forward}  # by whether images are ready
        self._compiled = self._plain
        self._expected = 0
        self._replays = recipe.compile and recipe.cuda_graphs
        if recipe.compile:
            for module in network.modules():
                if isinstance(module, Dropout):  # a generator cannot be traced, and what follows it aborts
                    module.factors = torch.compiler.disable(module.factors)  # type: ignore[method-assign]
            mode = "reduce-overhead" if recipe.cuda_graphs else "default"
            self._compiled = {ready: torch.compile(run, dynamic=False, mode=mode) for ready, run in self._plain.items()}

    def forward(self, images: Tensor, ready: bool = False) -> Tensor:
        images = images.contiguous(memory_format=self.memory_format)
        run = (self._compiled if self._expects(images) else self._plain)[ready]
        if not self.bf16:
            logits = run(images).float()
            return logits.clone() if self._replays else logits  # a replay writes its answer where the last one's is
        with torch.autocast(self.device_type, dtype=torch.bfloat16):
            return run(images).float()

    def expect(self, size: int) -> None:
        """Training passes come with so many images: these alone are compiled, at the first of them."""
        self._expected = size

    def _expects(self, images: Tensor) -> bool:
        """Others come in many sizes and modes, each of which would be compiled anew in the middle of a run; and one for gradients
        of the images would be compiled to compute those of the weights too."""
        return self.training and torch.is_grad_enabled() and images.shape[0] == self._expected and not images.requires_grad

    def train(self, mode: bool = True) -> Precise:
        if self._modules_in_order is None:  # a network with its own idea of it
            return super().train(mode)
        for module in (self, *self._modules_in_order):
            module.__dict__["training"] = mode
        return self
