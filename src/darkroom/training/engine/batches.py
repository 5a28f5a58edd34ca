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
"""Steps an epoch should have, if the set is small."""
SMALLEST_BATCH = 8
"""Images that batch norm needs for its statistics."""
ROOM = 0.5
"""Share of the free memory that images may take; the rest is for the network and for others."""
PIECE = 64 * 2**20
"""Bytes that are copied at a time."""
AHEAD = 3
"""Batches that are read before they are asked for."""

Place = Literal["device", "memory", "file"]


@dataclass
class Data:
    """One split: images uint8 (N, S, S, 3) wherever they fit, labels int64 (N,) on the device."""

    images: Tensor
    """On the device, or on the processor and then moved batch by batch; rows of it may belong to other splits."""
    rows: Tensor | None
    """The rows of `images` that are this split's, int64 on the processor; None is all of them, in order."""
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The images' side in pixels."""
        return self.images.shape[1]

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return self.labels.device

    @property
    def resident(self) -> bool:
        """Whether the images lie on the device that trains."""
        return self.images.device == self.device

    def take(self, positions: Tensor) -> Tensor:
        """Return the images at `positions` of the split (int64), on the device."""
        if self.resident and self.rows is None:
            return self.images.index_select(0, positions.to(self.device))
        positions = positions.cpu()
        rows = positions if self.rows is None else self.rows[positions]
        # index_select reads with all threads, images[rows] with one. Pinned memory, which PyTorch keeps for the next
        # batch, lets the copy run while the GPU computes.
        cuda = self.device.type == "cuda"
        images = torch.empty((len(rows), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=cuda)
        torch.index_select(self.images, 0, rows, out=images)
        return images.to(self.device, non_blocking=cuda)

    def subset(self, positions: npt.NDArray[np.int64]) -> "Data":
        """Return the images at `positions` (int64), copied only on the device."""
        if len(positions) == len(self):
            return self
        chosen = torch.from_numpy(positions)
        if self.resident and self.rows is None:
            return Data(self.take(chosen), None, self.labels[chosen.to(self.device)])
        rows = chosen if self.rows is None else self.rows[chosen]
        return Data(self.images, rows, self.labels[chosen.to(self.device)])

    def leave_device(self) -> bool:
        """Move the images from a GPU to the processor's memory; False where they are not on one, or find no room."""
        if self.images.device.type != "cuda" or self.images.nbytes > ROOM * _free_memory():
            return False
        self.images = self.images.cpu()
        torch.cuda.empty_cache()
        return True

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, `size` at a time, on the device."""
        yield from self.batches(torch.split(torch.arange(len(self)), size))

    def batches(self, places: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch of `places`; read ahead where they do not lie on the device."""
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
    """Return where `size` bytes of images fit: on the device, else in memory, else in the file they are in.

    `processes` of this machine each hold them.
    """
    if device.type == "cuda" and size <= ROOM * torch.cuda.mem_get_info(device)[0]:
        return "device"
    if size * processes <= ROOM * _free_memory():
        return "memory" if device.type == "cuda" else "device"
    return "file"


def _free_memory() -> int:
    """Return the bytes of memory that a process may still take, the limit of its container included."""
    free = int(psutil.virtual_memory().available)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def load(
    images: npt.NDArray[np.uint8], split: Split, name: SplitName, device: torch.device, place: Place = "device"
) -> Data:
    """Return one split of packed `images`, uint8 (N, S, S, 3), at `place`: in the processor's memory, where a GPU's
    turns out to be full.
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
    for begin in range(0, len(rows), piece):  # all at once would need room for them twice
        copies[begin : begin + piece] = torch.from_numpy(images[rows[begin : begin + piece]])
    if isinstance(pages := images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)  # what was read counts as this process's memory until then
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
    """Return the batches of an epoch: int64 places in the split, on the processor, all but the last `batch_size` long.

    Every image comes once; with class `weights` of shape (classes,), as many are drawn with replacement, each with
    a chance that is proportional to the weight of its class. A last batch of less than `smallest` joins the one
    before it, since batch norm cannot train on one image.
    """
    if weights is None:
        places = torch.randperm(len(data), generator=generator)
    else:
        # Places in the running sum of the weights: torch.multinomial stops at 2^24 images.
        sums = weights.cpu().double()[data.labels.cpu()].cumsum(0)
        places = torch.searchsorted(sums, torch.rand(len(data), generator=generator, dtype=torch.float64) * sums[-1])
        places = places.clamp(max=len(data) - 1)
    chunks = list(torch.split(places, batch_size))
    if len(chunks) > 1 and len(chunks[-1]) < min(batch_size, smallest):
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks


def fitting_size(count: int, batch_size: int, smallest: int = SMALLEST_BATCH) -> int:
    """Return the batch size for `count` images: as asked for, but at most what leaves an epoch its steps.

    With 60 images and batches of 128 an epoch would be a single step, and no network learns in sixteen of those.
    """
    return min(batch_size, max(smallest, count // FEWEST_STEPS))


def smallest(processes: int) -> int:
    """Return how many images the last batch of an epoch must have, for batch norm in each of `processes`."""
    return max(SMALLEST_BATCH, 2 * processes)


def class_weights(data: Data, classes: int) -> Tensor:
    """Return float32 weights, shape (classes,), inverse to the number of images, with mean 1 over all images."""
    counts = torch.bincount(data.labels, minlength=classes)
    return len(data) / (classes * counts.clamp(min=1).float())


def balance(data: Data, kind: Balance) -> tuple[Tensor | None, Tensor | None]:
    """Return the class weights for the loss and those for drawing images; None is no change to either."""
    if kind == "none":
        return None, None
    weights = class_weights(data, int(data.labels.max()) + 1)
    return (weights, None) if kind == "weights" else (None, weights)


def steps(count: int, batch_size: int, smallest: int = SMALLEST_BATCH) -> int:
    """Return how many batches `order` gives for `count` images."""
    whole, rest = divmod(count, batch_size)
    return max(1, whole + (rest >= min(batch_size, smallest)))
