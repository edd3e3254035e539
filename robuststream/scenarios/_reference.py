"""A small reference network for transferred attacks: trained on the pool, on the CPU, from one generator alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init
from torch.utils.flop_counter import FlopCounterMode

from robuststream.contracts import Split

BATCH = 64
MOST = 10_000
"""Examples that it is trained on: enough for an attack that transfers, and seconds on one core."""


class Reference(nn.Sequential):
    """Two strided convolutions and a linear layer: (n, C, H, W) in [0, 1] -> (n, K)."""

    def __init__(self, shape: torch.Size, num_classes: int, generator: Generator) -> None:
        channels, height, width = shape
        # Constructors of layers draw from the global generator, so they are skipped.
        first = skip_init(nn.Conv2d, channels, 16, 3, stride=2, padding=1)
        second = skip_init(nn.Conv2d, 16, 32, 3, stride=2, padding=1)
        answer = skip_init(nn.Linear, 32 * -(-height // 4) * -(-width // 4), num_classes)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), answer)
        for values in self.parameters():
            if values.ndim > 1:
                nn.init.kaiming_uniform_(values, nonlinearity="relu", generator=generator)
            else:
                nn.init.zeros_(values)


def educate(train: Split, epochs: int, generator: Generator) -> tuple[Reference, int]:
    """A network trained on at most MOST examples, its weights frozen; and how many examples went forwards and backwards."""
    images, labels = train.images.cpu(), train.labels.cpu()
    network = Reference(images.shape[1:], train.num_classes, generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    seen = 0
    for _ in range(epochs):
        for index in torch.randperm(len(labels), generator=generator)[:MOST].split(BATCH):
            loss = F.cross_entropy(network(images[index].float() / 255), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seen += len(index)
    network.requires_grad_(False)
    return network, seen


def price(network: Reference, image: Tensor, *, to_images: bool) -> int:
    """FLOPs of one example forwards, and backwards to the weights or to the images; `image` is (1, C, H, W)."""
    network.requires_grad_(not to_images)
    with FlopCounterMode(display=False) as counter:
        network(image.detach().clone().requires_grad_(to_images)).sum().backward()
    network.zero_grad(set_to_none=True)
    network.requires_grad_(False)
    return counter.get_total_flops()
