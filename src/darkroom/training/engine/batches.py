"""Packed images as batches of tensors, from the device, from memory or from the file."""

import mmap
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from darkroom.packed import Split, SplitName
from darkroom.training.settings import Balance

FEWEST_STEPS = 16
"""Minimum number of steps per epoch for small data sets."""
SMALLEST_BATCH = 8
"""Number of images that batch norm needs for its statistics."""
ROOM = 0.5
"""Fraction of the free memory that images may use; the rest is for the network and other programs."""
PIECE = 64 * 2**20
"""Number of bytes copied at a time."""
AHEAD = 3
"""Number of batches to read ahead."""

Place = Literal["device", "memory", "file"]


@dataclass
class Data:
    """One split: images uint8 (N, S, S, 3) wherever they fit, labels int64 (N,) on the device."""

    images: Tensor
    """On the device, or on the CPU and moved batch by batch; may include rows of other splits."""
    rows: Tensor | None
    """The rows of `images` in this split, int64 on the CPU; None for all of them, in order."""
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[1]

    @property
    def device(self) -> torch.device:
        """The training device."""
        return self.labels.device

    @property
    def resident(self) -> bool:
        """Whether the images are on the training device."""
        return self.images.device == self.device

    def take(self, positions: Tensor) -> Tensor:
        """Return the images at the indices `positions` in the split (int64), on the device."""
        if self.resident and self.rows is None:
            return self.images.index_select(0, positions.to(self.device))
        positions = positions.cpu()
        rows = positions if self.rows is None else self.rows[positions]
        # index_select uses all threads, images[rows] only one. Pinned memory, which PyTorch reuses for the next batch,
        # allows the copy to run while the GPU computes.
        cuda = self.device.type == "cuda"
        images = torch.empty((len(rows), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=cuda)
        torch.index_select(self.images, 0, rows, out=images)
        return images.to(self.device, non_blocking=cuda)

    def subset(self, positions: npt.NDArray[np.int64]) -> "Data":
        """Return the images at the indices `positions` (int64), copied only on the device."""
        if len(positions) == len(self):
            return self
        chosen = torch.from_numpy(positions)
        if self.resident and self.rows is None:
            return Data(self.take(chosen), None, self.labels[chosen.to(self.device)])
        rows = chosen if self.rows is None else self.rows[chosen]
        return Data(self.images, rows, self.labels[chosen.to(self.device)])

    def leave_device(self) -> bool:
        """Move the images from a GPU to the machine's memory; return False if they are not on a GPU or do not fit."""
        if self.images.device.type != "cuda" or self.images.nbytes > ROOM * _free_memory():
            return False
        self.images = self.images.cpu()
        torch.cuda.empty_cache()
        return True

    def batches(self, places: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch of `places`; read ahead if they are not on the device."""
        if self.rows is None and self.resident:
            yield from map(self.take, places)
            return
        with ThreadPoolExecutor(1) as reader:
            waiting = deque(reader.submit(self.take, batch) for batch in places[:AHEAD])
            for number in range(len(places)):
                if number + AHEAD < len(places):
                    waiting.append(reader.submit(self.take, places[number + AHEAD]))
                yield waiting.popleft().result()


def place(size: int, device: torch.device, processes: int = 1) -> Place:
    """Return where `size` bytes of images fit: on the device, otherwise in memory, otherwise in their file.

    `processes` processes on this machine each need that much.
    """
    if device.type == "cuda" and size <= ROOM * torch.cuda.mem_get_info(device)[0]:
        return "device"
    if size * processes <= ROOM * _free_memory():
        return "memory" if device.type == "cuda" else "device"
    return "file"


def _free_memory() -> int:
    """Return the bytes of memory that a process may still use, considering the limit of its container."""
    free = int(psutil.virtual_memory().available)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def load(
    images: npt.NDArray[np.uint8], split: Split, name: SplitName, device: torch.device, place: Place = "device"
) -> Data:
    """Return one split of packed `images`, uint8 (N, S, S, 3), at `place`, or in the machine's memory if a GPU turns
    out to be full.
    """
    rows = split.rows(name)
    labels = torch.from_numpy(split.labels[rows]).to(device)
    if place == "file":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and nothing here writes
            return Data(torch.from_numpy(images), torch.from_numpy(rows), labels)
    try:
        copies = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=_where(place, device))
    except torch.OutOfMemoryError:
        copies = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8)
    piece = max(1, PIECE // max(1, images[:1].nbytes))
    for begin in range(0, len(rows), piece):  # copying all at once would need twice the memory
        copies[begin : begin + piece] = torch.from_numpy(images[rows[begin : begin + piece]])
    if isinstance(pages := images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)  # until then, pages that were read count as this process's memory
    return Data(copies, None, labels)


def _where(place: Place, device: torch.device) -> torch.device:
    return device if place == "device" else torch.device("cpu")


def order(
    data: Data,
    batch_size: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    smallest: int = SMALLEST_BATCH,
) -> list[Tensor]:
    """Return the batches of an epoch: int64 indices into the split, on the CPU, of `batch_size` except for the last.

    Every image occurs once; with class `weights` of shape (classes,), the same number is drawn with replacement, with
    probabilities proportional to the weights of their classes. A last batch smaller than `smallest` is merged with the
    one before, because batch norm cannot train on one image.
    """
    if weights is None:
        places = torch.randperm(len(data), generator=generator)
    else:
        # Searches the cumulative weights, because torch.multinomial is limited to 2^24 images.
        sums = weights.cpu().double()[data.labels.cpu()].cumsum(0)
        places = torch.searchsorted(sums, torch.rand(len(data), generator=generator, dtype=torch.float64) * sums[-1])
        places = places.clamp(max=len(data) - 1)
    chunks = list(torch.split(places, batch_size))
    if len(chunks) > 1 and len(chunks[-1]) < min(batch_size, smallest):
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks


def fitting_size(count: int, batch_size: int, smallest: int = SMALLEST_BATCH) -> int:
    """Return the batch size for `count` images: the requested one, reduced if an epoch would have too few steps.

    With 60 images and batches of 128, an epoch would be a single step, and no network learns in sixteen steps.
    """
    return min(batch_size, max(smallest, count // FEWEST_STEPS))


def smallest(processes: int) -> int:
    """Return the minimum size of the last batch of an epoch, for batch norm in each of `processes`."""
    return max(SMALLEST_BATCH, 2 * processes)


def class_weights(data: Data, classes: int) -> Tensor:
    """Return float32 weights, shape (classes,), inverse to the class sizes, with mean 1 over all images."""
    counts = torch.bincount(data.labels, minlength=classes)
    return len(data) / (classes * counts.clamp(min=1).float())


def balance(data: Data, kind: Balance) -> tuple[Tensor | None, Tensor | None]:
    """Return the class weights for the loss and for sampling; None means no weights."""
    if kind == "none":
        return None, None
    weights = class_weights(data, int(data.labels.max()) + 1)
    return (weights, None) if kind == "weights" else (None, weights)


def steps(count: int, batch_size: int, smallest: int = SMALLEST_BATCH) -> int:
    """Return the number of batches that `order` returns for `count` images."""
    whole, rest = divmod(count, batch_size)
    return max(1, whole + (rest >= min(batch_size, smallest)))
