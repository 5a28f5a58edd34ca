"""RandAugment: a few random operations per image (Cubuk et al., arXiv 1909.13719)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.training.augmentation import colour, geometry
from darkroom.training.engine.seeds import Draws

STEPS = 2
"""Operations per image, as in the paper."""
STRONGEST = 30
"""Magnitude at which the limits below are reached, as in the paper's code and in torchvision."""


def randaugment(images: Tensor, magnitude: int, draws: Draws) -> Tensor:
    """Return uint8 images (N, S, S, 3) after two random operations each.

    Operations and limits are those of the paper, as implemented by torchvision, but with reflection padding instead of
    black. Images with the same operation are processed together.
    """
    images = images.round().to(torch.uint8).clone() if images.is_floating_point() else images.clone()
    names = list(OPERATIONS)
    for _ in range(STEPS):
        groups = draws.groups(len(names))
        signs = draws.integers(0, 2) * 2.0 - 1
        for name, members in zip(names, groups, strict=True):
            if len(members) and name != "identity":
                strengths = signs[members] * magnitude / STRONGEST
                images[members] = apply(name, images[members], strengths)
    return images


def apply(name: str, images: Tensor, strengths: Tensor) -> Tensor:
    """Apply one operation to uint8 images (N, S, S, 3); `strengths` (N,) are -1 to 1. Returns uint8."""
    return OPERATIONS[name](images.float(), strengths).round().clamp(0, 255).to(torch.uint8)


Operation = Callable[[Tensor, Tensor], Tensor]


def _affine(row: int, column: int, bound: float) -> Operation:
    """Return an operation that sets one element of the identity matrix to strength times limit."""

    def move(images: Tensor, strengths: Tensor) -> Tensor:
        matrices = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
        matrices[:, row, column] = strengths * bound
        return geometry.sample(images, matrices)

    return move


def _rotate(images: Tensor, strengths: Tensor) -> Tensor:
    angles = torch.deg2rad(30 * strengths)
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return geometry.sample(images, torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3))


def _factor(change: Operation) -> Operation:
    """Return an operation that scales by 0.1 to 1.9."""
    return lambda images, strengths: change(images, 1 + 0.9 * strengths)


def _sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the distance from a blurred copy; the border, which has too few neighbours, is unchanged."""
    weights = torch.ones((3, 1, 3, 3), device=images.device) / 13
    weights[:, :, 1, 1] = 5 / 13
    blurred = images.clone()
    inner = functional.conv2d(images.permute(0, 3, 1, 2), weights, groups=3)
    blurred[:, 1:-1, 1:-1] = inner.permute(0, 2, 3, 1)
    return colour.blend(images, blurred, factors)


def _posterize(images: Tensor, strengths: Tensor) -> Tensor:
    """Keep 8 to 4 bits per value."""
    steps = 2 ** (4 * strengths.abs()).round()[:, None, None, None]
    return images.div(steps, rounding_mode="floor") * steps


def _solarize(images: Tensor, strengths: Tensor) -> Tensor:
    """Invert the values above a threshold, which is 255 at strength 0 and 0 at 1."""
    return torch.where(images >= 255 * (1 - strengths.abs())[:, None, None, None], 255 - images, images)


def _autocontrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Stretch each channel to 0..255."""
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    return torch.where(high > low, (images - low) * 255 / (high - low).clamp(min=1), images)


def _equalize(images: Tensor, strengths: Tensor) -> Tensor:
    """Equalise the histogram of each channel, with Pillow's rounding."""
    values = images.permute(0, 3, 1, 2).flatten(2).long()
    counts = torch.zeros((*values.shape[:2], 256), dtype=torch.long, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(2, keepdim=True))
    step = (counts.sum(2, keepdim=True) - last) // 255
    below = counts.cumsum(2) - counts
    table = torch.div(below + step // 2, step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    flat = table.gather(2, values).view(images.permute(0, 3, 1, 2).shape)
    return flat.permute(0, 2, 3, 1).float()


OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, strengths: images,
    "shear_x": _affine(0, 1, 0.3),
    "shear_y": _affine(1, 0, 0.3),
    # 150 of 331 pixels; the image is 2 wide
    "translate_x": _affine(0, 2, 2 * 150 / 331),
    "translate_y": _affine(1, 2, 2 * 150 / 331),
    "rotate": _rotate,
    "brightness": _factor(colour.brightness),
    "saturation": _factor(colour.saturation),
    "contrast": _factor(colour.contrast),
    "sharpness": _factor(_sharpness),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
"""Name -> operation on float images (N, S, S, 3), values 0 to 255, and strengths -1 to 1, (N,)."""
