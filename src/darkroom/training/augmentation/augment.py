"""Random augmentation of training batches on the training device, with separate random numbers for each image."""

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.training.augmentation import colour, geometry, policy
from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings


def augment(
    images: Tensor, settings: AugmentSettings, draws: Draws, rows: Tensor | None = None, epoch: int = 0
) -> Tensor:
    """Return augmented copies of uint8 images of shape (N, S, S, 3): uint8, or float 0 to 255 after rotation or colour.

    `draws` and `rows` are on the images' device. `rows` are the images' indices in the training set, int64 (N,); with
    `epoch` and the seed of `draws`, they determine which images an alternating flip mirrors.
    """
    if settings.flip or settings.shift:
        mirrored = None
        if settings.flip == "alternating":
            rows = torch.arange(len(images), device=images.device) if rows is None else rows
            mirrored = geometry.alternating(rows, epoch, draws.seed)
        elif settings.flip:
            mirrored = draws.uniform() < 0.5
        images = geometry.flip_and_shift(images, mirrored, settings.shift, draws)
    if settings.rotate or settings.zoom or settings.crop:
        images = geometry.turn(images, settings, draws)
    if settings.randaugment:
        images = policy.randaugment(images, settings.randaugment, draws)
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        images = colour.jitter(images, settings, draws)
    if settings.cutout:
        images = geometry.cut_out(images, settings.cutout, draws)
    return images


def shrink(images: Tensor, size: int) -> Tensor:
    """Return images of shape (N, S, S, 3) resized to `size`, antialiased, float 0 to 255; unchanged at that size."""
    if images.shape[1] == size:
        return images
    channels_first = images.permute(0, 3, 1, 2).float()
    small = functional.interpolate(channels_first, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small.permute(0, 2, 3, 1)
