"""Random changes to batches of training images, on the device that trains, each image with its own draw."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.training.settings import AugmentSettings


def augment(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Return changed copies of uint8 images of shape (N, S, S, 3): uint8, or float 0 to 255 when turned.

    `generator` lives on the processor, so that every device sees the same draws.
    """
    if settings.flip or settings.shift:
        images = _flip_and_shift(images, settings, generator)
    if settings.rotate or settings.zoom:
        images = _turn(images, settings, generator)
    if settings.cutout:
        images = _cut_out(images, settings.cutout, generator)
    return images


def _flip_and_shift(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Mirror and move in one gather: the same as cropping from an image with a reflected border."""
    count, size = images.shape[:2]
    reach = min(settings.shift, size - 1)
    moves = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator)
    places = torch.arange(size).expand(count, size)
    rows, columns = (_reflect(places + move, size) for move in moves)
    if settings.flip:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    each = torch.arange(count, device=images.device)
    return images[each[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(places: Tensor, size: int) -> Tensor:
    """Fold positions outside 0..size-1 back inside, the border pixel not repeated."""
    return (size - 1) - ((size - 1) - places.abs()).abs()


def _turn(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Rotate and scale about the centre, bilinear, with a reflected border."""
    count = images.shape[0]
    draws = torch.rand((2, count), generator=generator) * 2 - 1
    angles = draws[0] * math.radians(settings.rotate)
    scales = 1 / (1 + draws[1] * settings.zoom)
    cosine, sine, zero = torch.cos(angles) * scales, torch.sin(angles) * scales, torch.zeros(count)
    matrices = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    channels_first = images.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(matrices.to(images.device), list(channels_first.shape), align_corners=False)
    turned = functional.grid_sample(channels_first, grid, padding_mode="reflection", align_corners=False)
    return turned.permute(0, 2, 3, 1)


def _cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Grey out one square whose centre lies anywhere in the image (DeVries and Taylor, arXiv 1708.04552)."""
    count, size = images.shape[:2]
    centres = torch.randint(0, size, (2, count, 1), generator=generator)
    places = torch.arange(size)
    inside = [((places - centre) >= -(side // 2)) & ((places - centre) < side - side // 2) for centre in centres]
    square = (inside[0][:, :, None] & inside[1][:, None, :])[..., None].to(images.device)
    return torch.where(square, torch.full_like(images, 128), images)
