from __future__ import annotations

from torch import Tensor, nn

from robuststream.models._layers import Count


class Mlp(nn.Module):
    """Fully connected network with ReLU: `layers` hidden layers of `hidden` units.

    Parameters: 203,530 on 28 x 28 grey images and 10 classes.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, *, hidden: Count = 256, layers: Count = 1) -> None:
        super().__init__()
        widths = [shape[0] * shape[1] * shape[2]] + [hidden] * layers
        hidden_layers = [part for i in range(layers) for part in (nn.Linear(widths[i], widths[i + 1]), nn.ReLU())]
        self.body = nn.Sequential(nn.Flatten(), *hidden_layers, nn.Linear(hidden, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)
