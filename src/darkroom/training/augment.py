"""Random changes to batches of training images, on the device that trains, each image with its own draw."""

import torch
from torch import Tensor

from darkroom.training.augmentation import colour, geometry, policy
from darkroom.training.settings import AugmentSettings


def augment(
    images: Tensor,
    settings: AugmentSettings,
    generator: torch.Generator,
    rows: Tensor | None = None,
    epoch: int = 0,
    seed: int = 0,
) -> Tensor:
    """Return changed copies of uint8 images of shape (N, S, S, 3): uint8, or float 0 to 255 when turned or coloured.

    `generator` lives on the processor, so that every device sees the same draws. `rows` are the images' places in
    the training set, int64 (N,); with `epoch` and `seed` they decide which images an alternating flip mirrors.
    """
    if settings.flip or settings.shift:
        mirrored = None
        if settings.flip == "alternating":
            rows = torch.arange(len(images)) if rows is None else rows
            mirrored = geometry.alternating(rows, epoch, seed)
        elif settings.flip:
            mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = geometry.flip_and_shift(images, mirrored, settings.shift, generator)
    if settings.rotate or settings.zoom or settings.crop:
        images = geometry.turn(images, settings, generator)
    if settings.randaugment:
        images = policy.randaugment(images, settings.randaugment, generator)
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        images = colour.jitter(images, settings, generator)
    if settings.cutout:
        images = geometry.cut_out(images, settings.cutout, generator)
    return images
