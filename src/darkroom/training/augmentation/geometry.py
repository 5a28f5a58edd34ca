"""Geometric transforms: flip, shift, rotation, zoom, crop and cutout. Images are (N, S, S, 3), values 0 to 255."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings


def alternating(rows: Tensor, epoch: int, seed: int) -> Tensor:
    """Return which of the images `rows` (int64, (N,)) are flipped in this epoch, bool (N,).

    A random half in one epoch and the other half in the next, so that two epochs show every image in both orientations:
    K. Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, arXiv 2404.00498, section 3.6. The half is a hash of row
    and seed (the mixing steps of SplitMix64), so that nothing has to be stored in a checkpoint.
    """
    mixed = (rows + 1) * -0x61C8864680B583EB + seed * 0x2545F491
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        mixed = (mixed ^ (mixed >> shift)) * factor
    return ((mixed >> 40) + epoch) % 2 == 1


def flip_and_shift(images: Tensor, mirrored: Tensor | None, shift: int, draws: Draws) -> Tensor:
    """Flip and shift in one gather operation; equivalent to cropping from an image padded by reflection."""
    count, size = images.shape[:2]
    reach = min(shift, size - 1)
    moves = draws.integers(-reach, reach + 1, 2)[..., None]
    places = torch.arange(size, device=images.device).expand(count, size)
    rows, columns = (_reflect(places + move, size) for move in moves)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    each = torch.arange(count, device=images.device)[:, None]
    # One index per pixel: on a CPU five times as fast as indexing with three tensors.
    pixels = ((each * size + rows) * size)[:, :, None] + columns[:, None, :]
    return images.reshape(-1, 3).index_select(0, pixels.view(-1)).view(images.shape)


def _reflect(places: Tensor, size: int) -> Tensor:
    """Reflect positions outside 0..size-1 back inside, without repeating the border pixel."""
    return (size - 1) - ((size - 1) - places.abs()).abs()


def turn(images: Tensor, settings: AugmentSettings, draws: Draws) -> Tensor:
    """Rotate, scale and crop: float, bilinear, padded by reflection."""
    count = images.shape[0]
    angle, scale = draws.uniform(2) * 2 - 1
    angles = angle * math.radians(settings.rotate)
    scales = 1 / (1 + scale * settings.zoom)
    cosine, sine, zero = (
        torch.cos(angles) * scales,
        torch.sin(angles) * scales,
        torch.zeros(count, device=images.device),
    )
    matrices = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    if settings.crop:
        sides, centres = _boxes(settings.crop, draws)
        matrices = sides[:, :, None] * matrices
        matrices[:, :, 2] += centres
    return sample(images, matrices)


def _boxes(smallest: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return sides and centres of random crops, (N, 2) as (x, y), in coordinates in which the image is -1 to 1.

    The area is drawn from `smallest` to 1, and the aspect ratio, on a log scale, from 3:4 to 4:3 (Szegedy et al., Going
    deeper with convolutions, arXiv 1409.4842); sides that would exceed the image are limited to it.
    """
    area, ratio, *places = draws.uniform(4)
    area, ratio = smallest + (1 - smallest) * area, torch.exp((2 * ratio - 1) * math.log(4 / 3))
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1).clamp(max=1)
    return sides, (1 - sides) * (2 * torch.stack(places, 1) - 1)


def sample(images: Tensor, matrices: Tensor) -> Tensor:
    """Return float images whose pixel at (x, y) is the old one at matrix · (x, y, 1), in coordinates from -1 to 1.

    `matrices` has shape (N, 2, 3). Bilinear, padded by reflection.
    """
    channels_first = images.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(matrices, list(channels_first.shape), align_corners=False)
    sampled = functional.grid_sample(channels_first, grid, padding_mode="reflection", align_corners=False)
    return sampled.permute(0, 2, 3, 1)


def cut_out(images: Tensor, side: int, draws: Draws) -> Tensor:
    """Fill one square with grey, centred anywhere in the image (DeVries and Taylor, arXiv 1708.04552)."""
    size = images.shape[1]
    centres = draws.integers(0, size, 2)[..., None]
    places = torch.arange(size, device=images.device)
    inside = [((places - centre) >= -(side // 2)) & ((places - centre) < side - side // 2) for centre in centres]
    square = (inside[0][:, :, None] & inside[1][:, None, :])[..., None]
    return images.masked_fill(square, 128)
