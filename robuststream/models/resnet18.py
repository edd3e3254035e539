from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from robuststream.models._layers import Count


class ResNet18(nn.Module):
    """ResNet-18 for small images: torchvision's blocks behind one 3x3 convolution, no max-pooling, four stages of two blocks.

    Paper: He et al., Deep residual learning for image recognition, CVPR 2016.
    Parameters: 11,173,962 on 32 x 32 colour images and 10 classes with `width` = 64 channels in the first stage.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, *, width: Count = 64) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        stages = [_stage(widths[i], widths[i + 1], stride=1 if i == 0 else 2) for i in range(4)]
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as torchvision initialises it
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


def _stage(before: int, width: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(before, width, stride, shortcut), BasicBlock(width, width))
