"""Common corruptions: each against an independent statement of it, severities in order, nothing of the network's disturbed."""

from __future__ import annotations

import colorsys
import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from robuststream.contracts import Split
from robuststream.errors import UserError
from robuststream.scenarios._corruptions import FAMILIES
from robuststream.scenarios.corruptions import Corruptions, corrupted


def pictures(count: int = 24, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Smooth ones, as photographs are."""
    rough = np.random.default_rng(0).random((count, channels, side, side))
    smooth = ndimage.gaussian_filter(rough, (0, 0, 1.5, 1.5))
    low, high = smooth.min((1, 2, 3), keepdims=True), smooth.max((1, 2, 3), keepdims=True)
    return torch.from_numpy((smooth - low) / (high - low)).float()


def apply(family: str, level: int, images: torch.Tensor, seed: int = 0) -> np.ndarray[Any, Any]:
    corrupt, settings = FAMILIES[family]
    return corrupt(images, settings[level - 1], torch.Generator().manual_seed(seed)).numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32)])
def test_every_family_answers_the_same_images_alike_and_stays_in_range(family: str, channels: int, side: int) -> None:
    images = pictures(6, channels, side)
    state = torch.get_rng_state()
    for level in range(1, 6):
        found = corrupted(images, family, level)
        assert found.shape == images.shape
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.equal(corrupted(images, family, level))
        assert not found.equal(images)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("elastic", "pixelate")])
def test_damage_grows_with_severity(family: str) -> None:
    images = pictures(24, 3, 32)
    damage = [float((corrupted(images, family, level) - images).square().mean()) for level in (1, 3, 5)]
    assert damage == sorted(damage)
    assert damage[0] < damage[2]


def test_noises_have_their_moments() -> None:
    grey = torch.full((50, 3, 32, 32), 0.5)
    for level in (1, 5):
        assert (apply("gaussian-noise", level, grey) - 0.5).std() == pytest.approx((0.04, 0.1)[level // 5], rel=0.02)
        assert (apply("speckle-noise", level, grey) - 0.5).std() == pytest.approx((0.03, 0.1)[level // 5], rel=0.02)
        photons = (500, 50)[level // 5]
        shots = apply("shot-noise", level, grey) * photons
        assert np.allclose(shots, shots.round(), atol=1e-3)
        assert shots.var() == pytest.approx(0.5 * photons, rel=0.02)
        impulses = apply("impulse-noise", level, grey)
        assert (impulses != 0.5).mean() == pytest.approx((0.01, 0.07)[level // 5], rel=0.05)
        assert set(np.unique(impulses)) == {0.0, 0.5, 1.0}


def test_gaussian_blur_is_scipys() -> None:
    images = pictures()
    for level, sigma in enumerate((0.4, 0.6, 0.7, 0.8, 1.0), 1):
        radius = max(1, int(np.ceil(3 * sigma)))
        twin = ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, radius, radius))
        assert np.allclose(apply("gaussian-blur", level, images), twin, atol=1e-5)


@pytest.mark.parametrize("family", ["gaussian-blur", "defocus-blur", "motion-blur", "zoom-blur", "pixelate", "elastic"])
def test_an_even_picture_has_nothing_to_blur(family: str) -> None:
    grey = torch.full((8, 1, 24, 24), 0.3)
    inside = apply(family, 5, grey)[..., 8:16, 8:16]
    assert np.allclose(inside, 0.3, atol=1e-5)


def test_brightness_is_of_hsv() -> None:
    images = pictures(2, 3, 4)
    found = apply("brightness", 4, images)
    for picture, bright in zip(images.numpy(), found, strict=True):
        for y, x in np.ndindex(4, 4):
            hue, saturation, value = colorsys.rgb_to_hsv(*picture[:, y, x])
            assert bright[:, y, x] == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + 0.2)), abs=1e-5)
    assert apply("brightness", 4, torch.zeros(1, 3, 2, 2)) == pytest.approx(0.2)


def test_contrast_keeps_means() -> None:
    images = pictures()
    found = apply("contrast", 5, images)
    mean = images.numpy().mean((2, 3), keepdims=True)
    assert np.allclose(found, mean + 0.15 * (images.numpy() - mean), atol=1e-6)


def test_pixelate_averages_boxes() -> None:
    images = pictures(4, 1, 20)
    small = images.numpy()  # 20 x .65 = 13 boxes; pixels that share a box are equal, and the mean stays
    found = apply("pixelate", 5, images)
    assert all(len(np.unique(one[0, 0])) <= 13 for one in found)
    assert found.mean() == pytest.approx(small.mean(), abs=0.02)


def test_jpeg_is_pillows() -> None:
    images = pictures(3, 3, 32)
    for one, found in zip((images.numpy() * 255).round().astype(np.uint8), apply("jpeg", 5, images), strict=True):
        file = io.BytesIO()
        Image.fromarray(one.transpose(1, 2, 0)).save(file, "JPEG", quality=40)
        twin = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255
        assert np.allclose(found, twin, atol=1e-6)


def test_fog_lightens_and_zoom_keeps_the_middle() -> None:
    dark = torch.zeros(4, 1, 32, 32)
    dark[:, :, 0, 0] = 1
    assert apply("fog", 5, dark).mean() > 0.2
    dot = torch.zeros(1, 1, 33, 33)
    dot[..., 14:19, 14:19] = 1
    assert apply("zoom-blur", 5, dot)[0, 0, 16, 16] == pytest.approx(1, abs=1e-5)


# -- the scenario ------------------------------------------------------------------------------------------------------------


class Bright(nn.Module):
    """Class 1 where the mean is above a half; notes in which mode it was asked, and how much."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(1)
        self.modes: set[bool] = set()
        self.asked = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.modes.add(self.training or self.frozen.training)
        self.asked += len(images)
        mean = images.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def held_out(count: int = 30) -> Split:
    place = torch.arange(count)
    values = torch.where(place % 2 == 0, 100, 140).to(torch.uint8)[:, None, None, None]
    return Split(values.expand(-1, 1, 8, 8).contiguous(), place % 2, place, 2, "d", count)


def test_figures_are_a_mean_and_the_families() -> None:
    network = Bright()
    network.frozen.eval()
    figures = Corruptions(families="contrast, brightness,jpeg", severity=5).evaluate(network, held_out())
    assert figures == {"corrupted": pytest.approx((1 + 0.5 + 1) / 3), "contrast": 1.0, "brightness": 0.5, "jpeg": 1.0}
    assert network.modes == {False}
    assert network.training
    assert not network.frozen.training


def test_all_families_at_all_strengths_on_the_first_examples() -> None:
    network = Bright()
    figures = Corruptions(examples=10).evaluate(network, held_out())
    assert list(figures) == ["corrupted", *FAMILIES]
    assert network.asked == 10 * 5 * len(FAMILIES)
    assert figures["brightness"] == pytest.approx(np.mean([1, 1, 0.5, 0.5, 0.5]))  # 100 / 255 passes a half from .15 on


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"severity": 6}, "severity=6 is not possible (allowed: 1 to 5)"),
        ({"severity": 0}, "severity=0 is not possible"),
        ({"families": "gaussian-noize"}, "no family 'gaussian-noize'; did you mean 'gaussian-noise'?"),
        ({"families": ""}, "no family ''"),
        ({"examples": 0}, "examples=0 is not possible"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        Corruptions(**given)
    assert "\n" not in str(caught.value)
