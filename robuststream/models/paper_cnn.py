from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from robuststream.models._layers import Dropout, Flatten


class PaperCnn(nn.Module):
    """The five-layer network of the PLB and PEB experiments: two 3x3 convolutions, max-pooling, two linear layers, dropout.

    Paper: Wojtulewicz, Duda, Nowicki, Rutkowski, PMLR 263:17-24, 2024, section 4.1, on EMNIST Letters.
    Pooled before the second ReLU, not after: the same values and gradients, to the bit, from a quarter of the activations.

    Parameters: 1,201,946 on 28 x 28 grey images and 26 classes (the paper: about 1.2 M).
    """

    smallest: ClassVar[int] = 6  # what two unpadded 3x3 convolutions and a 2x2 pooling leave something of

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            Dropout(0.25),
            Flatten(),
            nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
            nn.ReLU(),
            Dropout(0.5),
            nn.Linear(128, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)
