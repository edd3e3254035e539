"""Common corruptions of pictures, after CIFAR-10-C [Hendrycks & Dietterich, ICLR 2019 (arXiv 1903.12261)].

Each takes (m, C, H, W) float32 images in [0, 1], one setting of its five and a generator on their device, and returns what may
leave [0, 1]. Settings are CIFAR-10-C's own; lengths are in pixels as there, shifts of elastic in shares of the width.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V


class Family(NamedTuple):
    """One kind of damage and its settings at severity 1 to 5."""

    corrupt: Callable[[Tensor, Any, Generator], Tensor]
    settings: tuple[Any, ...]


def _gaussian_noise(images: Tensor, scale: float, generator: Generator) -> Tensor:
    return images + scale * _normal(images, generator)


def _shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    return torch.poisson(images * photons, generator=generator) / photons


def _impulse_noise(images: Tensor, share: float, generator: Generator) -> Tensor:
    """A share of the values becomes 0 or 1, with even chances."""
    hit = torch.rand(images.shape, generator=generator, device=images.device)
    return torch.where(hit < share / 2, 0.0, torch.where(hit < share, 1.0, images))


def _speckle_noise(images: Tensor, scale: float, generator: Generator) -> Tensor:
    return images + images * scale * _normal(images, generator)


def _gaussian_blur(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    return _blurred(images, sigma)


def _defocus_blur(images: Tensor, setting: tuple[float, float], generator: Generator) -> Tensor:
    """A disk of this radius, its edge softened."""
    radius, alias = setting
    kernel = (_grid(8).square().sum(0) <= radius**2).float()
    kernel = V.gaussian_blur((kernel / kernel.sum())[None], [3, 3], [alias, alias])[0]
    return _convolved(images, kernel)


def _motion_blur(images: Tensor, setting: tuple[int, float], generator: Generator) -> Tensor:
    """Half a Gaussian along a line; every part of a fourth of the images moves in a direction of its own, within 45 degrees."""
    radius, sigma = setting
    steps = torch.arange(radius + 1, device=images.device)
    weights = torch.exp(-(steps.float() ** 2) / (2 * sigma**2))
    angles = (torch.rand(4, generator=generator, device=images.device) - 0.5) * (math.pi / 2)
    blurred = []
    for angle, part in zip(angles, images.chunk(4), strict=False):
        kernel = torch.zeros(2 * radius + 1, 2 * radius + 1, device=images.device)
        down, across = (torch.sin(angle) * steps).round().long(), (torch.cos(angle) * steps).round().long()
        kernel.index_put_((radius + down, radius + across), weights, accumulate=True)
        blurred.append(_convolved(part, kernel / kernel.sum()))
    return torch.cat(blurred)


def _zoom_blur(images: Tensor, largest: float, generator: Generator) -> Tensor:
    """The mean of the image and of it zoomed in by steps of 1 %, up to `largest`."""
    zooms = [1 + 0.01 * step for step in range(round((largest - 1) * 100) + 1)]
    zoomed = [V.affine(images, 0.0, [0, 0], zoom, [0.0, 0.0], V.InterpolationMode.BILINEAR) for zoom in zooms]
    return (images + torch.stack(zoomed).sum(0)) / (len(zooms) + 1)


def _fog(images: Tensor, setting: tuple[float, float], generator: Generator) -> Tensor:
    """Added clouds: noise at scales that halve, each `decay` times as weak as the one before, brought to [0, 1]."""
    amount, decay = setting
    shape, clouds = images.shape[-2:], torch.zeros(len(images), 1, *images.shape[-2:], device=images.device)
    for octave in range(1, max(2, math.ceil(math.log2(max(shape)))) + 1):
        coarse = torch.rand(len(images), 1, 2**octave, 2**octave, generator=generator, device=images.device)
        clouds += F.interpolate(coarse, size=shape, mode="bilinear", align_corners=True) / decay**octave
    low, high = clouds.amin((2, 3), keepdim=True), clouds.amax((2, 3), keepdim=True)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + amount * (clouds - low) / (high - low).clamp(min=1e-6)) * brightest / (brightest + amount)


def _brightness(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """The value of HSV grows; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    grown = (value + amount).clamp(max=1.0)
    return torch.where(value > 0, images * grown / value.clamp(min=1e-6), grown)


def _contrast(images: Tensor, factor: float, generator: Generator) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def _elastic(images: Tensor, setting: tuple[float, float, float], generator: Generator) -> Tensor:
    """Smooth random shifts of every pixel, after a random affine map; strength, smoothness and spread in shares of the width."""
    strength, smooth, spread = setting
    count, _, height, width = images.shape
    corners = (torch.rand(count, 2, 3, generator=generator, device=images.device) * 2 - 1) * spread * 2
    affine = torch.eye(2, 3, device=images.device) + corners * torch.tensor([1.5, 1.5, 1.0], device=images.device)
    grid = F.affine_grid(affine, [count, 1, height, width], align_corners=False)
    shifts = torch.rand(count, 2, height, width, generator=generator, device=images.device) * 2 - 1
    if smooth > 0:
        shifts = _blurred(shifts, smooth * width)
    grid = grid + shifts.permute(0, 2, 3, 1) * strength * 2
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _pixelate(images: Tensor, factor: float, generator: Generator) -> Tensor:
    height, width = images.shape[-2:]
    small = F.interpolate(images, (max(1, int(height * factor)), max(1, int(width * factor))), mode="area")
    return F.interpolate(small, (height, width), mode="nearest-exact")


def _jpeg(images: Tensor, quality: int, generator: Generator) -> Tensor:
    """By way of Pillow: torchvision gives its own encoder up."""
    found = []
    for one in (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(one.squeeze(2) if one.shape[2] == 1 else one).save(file, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(file)).reshape(one.shape))
    return torch.from_numpy(np.stack(found)).to(images.device).permute(0, 3, 1, 2).float() / 255


FAMILIES = {
    "gaussian-noise": Family(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": Family(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse-noise": Family(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle-noise": Family(_speckle_noise, (0.06, 0.10, 0.12, 0.16, 0.20)),
    "defocus-blur": Family(_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))),
    "gaussian-blur": Family(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "motion-blur": Family(_motion_blur, ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))),
    "zoom-blur": Family(_zoom_blur, (1.05, 1.10, 1.15, 1.20, 1.25)),
    "fog": Family(_fog, ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))),
    "brightness": Family(_brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": Family(_contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),
    "elastic": Family(_elastic, ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))),
    "pixelate": Family(_pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),
    "jpeg": Family(_jpeg, (80, 65, 58, 50, 40)),
}
"""Of CIFAR-10-C all but glass blur (pixels swapped one by one), saturate (colour), snow, frost and spatter (OpenCV, pictures)."""


def _normal(images: Tensor, generator: Generator) -> Tensor:
    return torch.randn(images.shape, generator=generator, device=images.device)


def _grid(radius: int) -> Tensor:
    """(2, 2r + 1, 2r + 1) offsets down and across."""
    line = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    line = torch.exp(-(torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32) ** 2) / (2 * sigma**2))
    return _convolved(images, torch.outer(line, line) / line.sum() ** 2)


def _convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Every channel with one odd square kernel; the image goes on as its edge does."""
    radius, channels = kernel.shape[0] // 2, images.shape[1]
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(padded, kernel.to(images).expand(channels, 1, -1, -1), groups=channels)
