"""Packed images as tensors on the device, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darkroom.packed import Packed, Split, SplitName

FEWEST_STEPS = 16
"""Steps an epoch should have, if the set is small."""
SMALLEST_BATCH = 8
"""Images that batch norm needs for its statistics."""


@dataclass(frozen=True)
class Data:
    """One split in the device's memory: images uint8 (N, S, S, 3), labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load(packed: Packed, split: Split, name: SplitName, device: torch.device) -> Data:
    """Copy one split into the device's memory."""
    rows = split.rows(name)
    return Data(torch.from_numpy(packed.images[rows]).to(device), torch.from_numpy(split.labels[rows]).to(device))


def shuffled(
    data: Data, batch_size: int, generator: torch.Generator, weights: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of random batches, all but the last of `batch_size`.

    Every image comes once; with class `weights` of shape (classes,), as many are drawn with replacement, each with
    a chance that is proportional to the weight of its class. A last batch of a single image joins the one before it,
    since batch norm cannot train on one.
    """
    if weights is None:
        order = torch.randperm(len(data), generator=generator)
    else:
        # Places in the running sum of the weights: torch.multinomial stops at 2^24 images.
        sums = weights.cpu().double()[data.labels.cpu()].cumsum(0)
        order = torch.searchsorted(sums, torch.rand(len(data), generator=generator, dtype=torch.float64) * sums[-1])
        order = order.clamp(max=len(data) - 1)
    order = order.to(data.images.device)
    chunks = list(torch.split(order, batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    for rows in chunks:
        yield data.images[rows], data.labels[rows]


def fitting_size(count: int, batch_size: int) -> int:
    """Return the batch size for `count` images: as asked for, but at most what leaves an epoch its steps.

    With 60 images and batches of 128 an epoch would be a single step, and no network learns in sixteen of those.
    """
    return min(batch_size, max(SMALLEST_BATCH, count // FEWEST_STEPS))


def class_weights(data: Data, classes: int) -> Tensor:
    """Return float32 weights, shape (classes,), inverse to the number of images, with mean 1 over all images."""
    counts = torch.bincount(data.labels, minlength=classes)
    return len(data) / (classes * counts.clamp(min=1).float())


def steps(count: int, batch_size: int) -> int:
    """Return how many batches `shuffled` yields for `count` images."""
    whole, rest = divmod(count, batch_size)
    return max(1, whole + (rest > 1 or (rest == 1 and whole == 0)))


def statistics(data: Data) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, on values 0 to 1, rounded to 4 digits."""
    # Exact integer histograms: no float sum whose result depends on the order of the threads.
    pixels: npt.NDArray[np.uint8] = data.images.cpu().numpy().reshape(-1, 3)
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in range(3):
        share = np.bincount(pixels[:, channel], minlength=256) / len(pixels)
        mean = float(share @ levels)
        means.append(round(mean, 4))
        # A constant channel must not divide by zero.
        stds.append(max(round(float(np.sqrt(share @ (levels - mean) ** 2)), 4), 1e-2))
    return means, stds
