"""Colours and operations against torchvision's, on random pictures and on such as have plain areas."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from darkroom.training.augmentation import colour, policy
from darkroom.training.augmentation.augment import augment
from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings


def pictures() -> Tensor:
    """Return six uint8 pictures: noise, but one each of grey levels, of one colour and of low contrast."""
    images = torch.randint(0, 256, (6, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    images[0] = images[0, :, :, :1]
    images[1] = torch.tensor([200, 30, 30], dtype=torch.uint8)
    images[2] = 90 + images[2] // 8
    return images


def theirs(change, images: Tensor, *arguments: float) -> Tensor:
    """Apply a change of torchvision's to (N, S, S, 3)."""
    return change(images.permute(0, 3, 1, 2), *arguments).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("change", "expected", "factors"),
    [
        (colour.brightness, reference.adjust_brightness, (0.4, 1.0, 1.6)),
        (colour.contrast, reference.adjust_contrast, (0.0, 0.4, 1.0, 1.6)),
        (colour.saturation, reference.adjust_saturation, (0.0, 0.4, 1.0, 1.6)),
        (colour.hue, reference.adjust_hue, (-0.5, -0.13, 0.0, 0.27, 0.5)),
    ],
)
def test_colours_change_as_in_torchvision(change, expected, factors):
    images = pictures().float()
    for factor in factors:
        changed = change(images, torch.full((len(images),), factor))
        torch.testing.assert_close(changed, 255 * theirs(expected, images / 255, factor), atol=0.01, rtol=0)


def test_each_image_gets_its_own_factor():
    images = pictures()[-2:].float()
    changed = colour.contrast(images, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(changed[0], images[0])
    assert not torch.allclose(changed[1], images[1])


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({"brightness": 0.2}, 80, 120),
        ({"contrast": 0.2}, 100, 100),  # of an image of one colour there is none
        ({"saturation": 0.5}, 100, 100),
        ({"hue": 0.5}, 100, 100),
        ({"brightness": 0.2, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}, 80, 120),
    ],
)
def test_jitter_stays_within_its_bounds_and_reaches_them(settings, low, high):
    images = torch.full((300, 4, 4, 3), 100, dtype=torch.uint8)
    changed = augment(images, AugmentSettings(**settings), Draws(0, 0, len(images)))
    assert changed.dtype == torch.float32
    assert float(changed.min()) == pytest.approx(low, abs=1)
    assert float(changed.max()) == pytest.approx(high, abs=1)
    assert float(changed.min()) >= low - 0.01
    assert float(changed.max()) <= high + 0.01


@pytest.mark.parametrize(
    ("name", "strength", "expected", "arguments"),
    [
        ("brightness", 0.5, reference.adjust_brightness, (1.45,)),
        ("saturation", -0.5, reference.adjust_saturation, (0.55,)),
        ("contrast", 0.5, reference.adjust_contrast, (1.45,)),
        ("sharpness", 1.0, reference.adjust_sharpness, (1.9,)),
        ("sharpness", -1.0, reference.adjust_sharpness, (0.1,)),
        ("posterize", 0.3, reference.posterize, (7,)),
        ("posterize", -1.0, reference.posterize, (4,)),
        ("solarize", 0.4, reference.solarize, (153.0,)),
        ("solarize", 0.0, reference.solarize, (255.0,)),
        ("autocontrast", 0.3, reference.autocontrast, ()),
        ("equalize", 0.3, reference.equalize, ()),
        ("identity", 0.3, reference.posterize, (8,)),
    ],
)
def test_operations_are_those_of_torchvision(name, strength, expected, arguments):
    images = pictures()
    changed = policy.apply(name, images, torch.full((len(images),), strength))
    distance = (changed.int() - theirs(expected, images, *arguments).int()).abs()
    exact = name in ("posterize", "solarize", "equalize", "identity")
    # torchvision cuts off where it changes whole numbers, twice in contrast; here they are rounded.
    assert int(distance.max()) <= (0 if exact else 2)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("rotate", {"angle": -15.0}),
        ("translate_x", {"translate": [-15, 0]}),
        ("translate_y", {"translate": [0, -15]}),
        ("shear_x", {"shear": [8.5308, 0.0]}),  # degrees of the slope 0.15
        ("shear_y", {"shear": [0.0, 8.5308]}),
    ],
)
def test_operations_of_place_are_those_of_torchvision(name, parameters):
    size = 66  # of which half the way of a translation is 14.96 pixels
    places = torch.arange(float(size))
    wave = 128 + 60 * torch.sin(places[:, None] / 9) + 60 * torch.cos(places[None, :] / 7)  # smooth: pixels compare
    images = wave[None, :, :, None].repeat(1, 1, 1, 3).to(torch.uint8)
    changed = policy.apply(name, images, torch.tensor([0.5]))
    full = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **parameters}
    expected = reference.affine(
        images.permute(0, 3, 1, 2), **full, interpolation=reference.InterpolationMode.BILINEAR
    ).permute(0, 2, 3, 1)
    inner = slice(size // 3, 2 * size // 3)
    assert int((changed.int() - expected.int())[:, inner, inner].abs().max()) <= 2
    assert int((images.int() - expected.int())[:, inner, inner].abs().max()) > 10  # the change is more than that


def test_randaugment_gives_each_image_two_operations_of_its_own():
    images = pictures()[-1:].repeat(300, 1, 1, 1)
    changed = augment(images, AugmentSettings(randaugment=9), Draws(0, 0, len(images)))
    assert changed.dtype == torch.uint8
    # Of 14 operations with two signs each there are hundreds of pairs; 1 of 196 is no change at all.
    assert len(changed.flatten(1).unique(dim=0)) > 120
    unchanged = (changed == images).flatten(1).all(1)
    assert 0 < int(unchanged.sum()) < 40


@pytest.mark.parametrize(
    "settings",
    [
        AugmentSettings(randaugment=9),
        AugmentSettings(rotate=9, randaugment=30, cutout=3),
        AugmentSettings(crop=0.3, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    ],
)
def test_the_seed_decides(settings):
    images = pictures()
    first, again, other = (augment(images, settings, Draws(seed, 0, len(images))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255
    assert torch.equal(images, pictures())  # the data set itself is left alone
