"""Colour transforms, with the formulas of torchvision and Pillow.

A transform takes images of shape (N, S, S, 3) with float values 0 to 255 and one factor per image, (N,), and returns
the same shape and range; a factor of 1 (a hue shift of 0) changes nothing.
"""

import torch
from torch import Tensor

from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601, with torchvision's digits)."""


def jitter(images: Tensor, settings: AugmentSettings, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, each by a random amount within its limit."""
    amounts = draws.uniform(4) * 2 - 1
    images = images.float()
    bounds = (settings.brightness, settings.contrast, settings.saturation)
    for change, bound, amount in zip((brightness, contrast, saturation), bounds, amounts, strict=False):
        if bound:
            images = change(images, 1 + bound * amount)
    return hue(images, settings.hue * amounts[3]) if settings.hue else images


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale all values."""
    return (images * _each(factors)).clamp(0, 255)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance from the mean brightness of the image."""
    return blend(images, grey(images).mean((1, 2), keepdim=True)[..., None], factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance from grey."""
    return blend(images, grey(images)[..., None], factors)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue by fractions of a turn; brightness and saturation, as defined by HSV, are kept."""
    top, bottom = images.amax(3), images.amin(3)
    spread = top - bottom
    red, green, blue = images.unbind(3)
    # A full turn is 6: red at 0, green at 2, blue at 4.
    place = torch.where(top == red, (green - blue), torch.where(top == green, blue - red, red - green))
    start = torch.where(top == red, 0.0, torch.where(top == green, 2.0, 4.0))
    place = start + place / spread.clamp(min=1e-6) + 6 * turns[:, None, None]
    # Each channel is a trapezoid over the hue: at the maximum for two sixths, at the minimum for two.
    channels = [top - spread * _trapezium(place + offset) for offset in (5, 3, 1)]
    return torch.stack(channels, 3)


def _trapezium(place: Tensor) -> Tensor:
    place = place % 6
    return torch.minimum(place, 4 - place).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """Return the brightness of every pixel, (N, S, S)."""
    red, green, blue = images.unbind(3)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Interpolate linearly: `others` at factor 0, `images` at 1, extrapolated beyond."""
    return torch.lerp(others, images, _each(factors)).clamp(0, 255)


def _each(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]
