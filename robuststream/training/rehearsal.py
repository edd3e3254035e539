"""Before the clock starts: a few steps that are forgotten, so that no run pays for what a process does once (rule 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.config import Recipe
from robuststream.data.scale import UNIT
from robuststream.data.stored import AnyBatches
from robuststream.training.direct import backward, equal_shares
from robuststream.training.optimizers import build_optimizer
from robuststream.training.precision import Precise

STEPS = 3
"""torch compiles in the first, records CUDA graphs in the second and replays them from the third on."""


def rehearse(
    network: Precise, train: AnyBatches, recipe: Recipe, size: int, ready: bool, generators: dict[str, torch.Generator]
) -> None:
    """Fetch, forward, backward and step as the run will do them, `size` examples at a time: what compiles is compiled, and a GPU
    has loaded its kernels. Weights, buffers, generators and flips are as before."""
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    states = {name: generator.get_state() for name, generator in generators.items()}
    turned = None if train.turned is None else train.turned.clone()
    network.expect(size)
    optimizer = build_optimizer(recipe, network)
    index = torch.arange(size, device=train.labels.device) % len(train.labels)
    for _ in range(STEPS):
        _step(network, *train.fetch(index, network.scale if ready else UNIT), ready)
        optimizer.step()
        network.zero_grad(set_to_none=True)
    network.load_state_dict(weights)
    for name, generator in generators.items():
        generator.set_state(states[name])
    if turned is not None and train.turned is not None:
        train.turned.copy_(turned)


def _step(network: Precise, images: Tensor, labels: Tensor, ready: bool) -> None:
    loss = F.cross_entropy(network(images, ready), labels, reduction="none")
    backward(loss, equal_shares(len(loss), loss.device))
