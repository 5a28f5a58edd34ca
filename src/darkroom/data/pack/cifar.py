"""CIFAR-10's official archive: five training batches and a test batch, Python pickles of pixels and labels.

A pickle can run any code, so these are read by an unpickler that accepts only the three names with which NumPy writes
an array, and calls none of NumPy's functions. Images are passed on as BMP files: lossless, with the same bytes on every
machine (those of PNG depend on the compressor), and written a thousand times faster.
"""

import pickle
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.data.archives import archive
from darkroom.data.archives.layout import Item
from darkroom.foundations.errors import DarkroomError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The official class names in the order of the labels 0 to 9."""
SIDE = 32
BATCH = 10_000
"""Number of images in an official batch: number i of data_batch_k is training image (k - 1) · 10,000 + i."""
MAX_BYTES = 64 * 1024 * 1024
"""Size of the largest batch that is read; an official one has 31 MB."""


@dataclass(frozen=True)
class Batch:
    """One batch: pixels, uint8, shape (N, 3, 32, 32), channels red, green, blue; N labels, 0 to 9; N names."""

    pixels: npt.NDArray[np.uint8]
    items: list[Item]


def items(path: Path) -> list[Item]:
    """Return all images with class and official split, sorted by name, such as test/cat/00042.bmp.

    Raises DarkroomError when the archive is damaged or is not CIFAR-10's.
    """
    found = [item for batch in _batches(path) for item in batch.items]
    if {item.split for item in found} != {"train", "test"}:
        raise DarkroomError(f"{path.name} lacks data_batch_1 or test_batch: download it again")
    return sorted(found, key=lambda item: item.name)


def read(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes of a BMP file) for each wanted image, in stored order."""
    header = _bmp_header()
    for batch in _batches(path):
        # BMP rows are stored from the bottom up, blue first; rows of 96 bytes need no padding.
        rows = np.ascontiguousarray(batch.pixels.transpose(0, 2, 3, 1)[:, ::-1, :, ::-1])
        for item, pixels in zip(batch.items, rows, strict=True):
            if item.name in wanted:
                yield item.name, header + pixels.tobytes()


def _batches(path: Path) -> Iterator[Batch]:
    for name, data, _ in archive.walk(path, _is_batch):  # one pass, one batch in memory
        if data is None:
            continue
        short = name.rpartition("/")[2]
        if isinstance(data, str) or len(data) > MAX_BYTES:
            reason = data if isinstance(data, str) else f"has {len(data):,} bytes, too many"
            raise DarkroomError(f"{path.name}: {short} {reason}: download it again")
        yield _batch(short, data, path.name)


def _is_batch(name: str) -> bool:
    return re.fullmatch(r"data_batch_[1-5]|test_batch", name.rpartition("/")[2]) is not None


def _batch(name: str, data: bytes, title: str) -> Batch:
    try:
        content = _Unpickler(BytesIO(data), encoding="bytes").load()
        labels = [CLASSES[label] for label in content[b"labels"]]
        pixels = content[b"data"].array().reshape(len(labels), 3, SIDE, SIDE)
        if len(labels) > BATCH:
            raise ValueError(f"{len(labels):,} labels")
    except Exception as error:  # an invalid pickle can raise nearly anything; all of it means the same
        raise DarkroomError(f"{title}: {name} is not a CIFAR-10 batch ({error}): download it again") from None
    split = "test" if name == "test_batch" else "train"
    first = 0 if split == "test" else (int(name[-1]) - 1) * BATCH
    named = [Item(f"{split}/{label}/{first + row:05}.bmp", label, split) for row, label in enumerate(labels)]
    return Batch(pixels, named)


def _bmp_header() -> bytes:
    """Return the 54 bytes before the pixels of a 32×32 BMP file."""
    file = BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(file, "BMP")
    return file.getvalue()[: -3 * SIDE * SIDE]


class _Array:
    """Replaces a pickled NumPy array and stores its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)

    def array(self) -> npt.NDArray[np.uint8]:
        """Return an array of unsigned bytes. Raises ValueError for any other array."""
        _, shape, kind, fortran, data = self.state
        if kind.arguments[:1] not in ((b"u1",), ("u1",)) or not isinstance(data, bytes):
            raise ValueError("data is not an array of unsigned bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Allows only NumPy arrays, plain containers, numbers and strings."""

    KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Array,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement for a known name; called for every name in a pickle."""
        if (module, name) in self.KNOWN:
            return self.KNOWN[module, name]
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not part of a batch")
