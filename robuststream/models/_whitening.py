"""The frozen first layer that makes small patches of the images uncorrelated, from their covariance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 2
"""Pixels of a patch on either axis."""


class Whitening(nn.Conv2d):
    """(n, C, H, W) normalised images -> (n, 2 C SIDE^2, H-1, W-1): their patches' principal components at unit variance, and the
    negatives of these, so that nothing is lost behind a rectifier. The bias is learned; `fit` sets the weights, which are not."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels * SIDE**2, SIDE)
        self.weight.requires_grad_(False)

    def fit(self, covariance: Tensor, epsilon: float = 5e-4) -> None:
        """From the (D, D) second moments of flat patches, D = C SIDE^2 (see `patch_covariance`). On the CPU: the same on every
        device, where signs of directions are each library's own."""
        variances, directions = torch.linalg.eigh(covariance.double().cpu())
        filters = directions.T / (variances + epsilon).sqrt()[:, None]
        with torch.no_grad():
            self.weight.copy_(torch.cat([filters, -filters]).view(self.weight.shape))


def patch_covariance(images: Tensor) -> Tensor:
    """(D, D) float64: mean outer product of all flat SIDE x SIDE patches of (m, C, H, W) normalised images."""
    patches = nn.functional.unfold(images.double(), SIDE).transpose(1, 2).flatten(0, 1)
    return patches.T @ patches / len(patches)
