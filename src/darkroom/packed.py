"""The packed data set: every readable image as one row of one array, and the split of each row.

A packed folder contains `images.npy` (uint8, N×S×S×3, opened as a memory map), `index.csv` (row i describes
images[i]), `files.csv` (facts about its file, see `data/pack/traits.py`), `broken.csv` (the excluded images with the
reasons), `source.json` (a description of the source), `packing.json` (how images became squares), and two files that
save other stages from reading all pixels: `moments.npy` and `checksums.json`.
"""

import csv
import hashlib
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from darkroom import framing, spreadsheets
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.framing import Fit

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LEFT_OUT = "left out"
"""Value of `split` for images that are in no split."""
UNEVEN = 1.5
"""Ratio of the largest to the smallest class from which on accuracy mainly reflects the large classes."""


@dataclass(frozen=True)
class Record:
    """One readable image: a row of `index.csv`."""

    name: str
    """Path inside the archive."""
    label: str
    """Class name."""
    split: str
    """The split defined by the source (train, validation or test), or empty."""
    width: int
    """Original width in pixels, after EXIF rotation."""
    height: int
    sha256: str
    """SHA-256 of the file's bytes, 64 hexadecimal digits: equal for exact copies."""
    phash: str
    """Perceptual hash (64 bits as 16 hexadecimal digits): few bits differ between near copies."""
    group: str = ""
    """Name of a group (same object, patient, burst), or empty; a group stays in one split."""
    slice: str = ""
    """Name of a slice (camera, place, season), or empty; accuracy is reported for each slice."""


@dataclass(frozen=True)
class Broken:
    """An excluded image: a row of `broken.csv`."""

    name: str
    label: str
    """Class name; empty if it is not in a class folder, in which case it was not read."""
    reason: str


@dataclass(frozen=True)
class Packed:
    """An open packed folder. `images` is a read-only memory map of shape (N, S, S, 3), uint8."""

    images: npt.NDArray[np.uint8]
    records: list[Record]
    broken: list[Broken]
    source: dict[str, Any]
    fit: Fit = framing.DEFAULT


def open_packed(folder: Path) -> Packed:
    """Open a packed folder; pixels are read from disk when they are accessed."""
    images, records = open_images(folder), read_index(folder)
    broken = [Broken(**row) for row in read_sheet(folder / "broken.csv")]
    return Packed(images, records, broken, files.read_json(folder / "source.json"), read_fit(folder))


def write_fit(folder: Path, fit: Fit) -> None:
    """Write `packing.json`."""
    files.write_json(folder / "packing.json", {"fit": fit})


def read_fit(folder: Path) -> Fit:
    """Return how the images of a packed folder became squares. Raises DarkroomError when this version cannot do it."""
    path = folder / "packing.json"
    return framing.read(files.read_json(path) if path.is_file() else {}, naming.shown(path))


def open_images(folder: Path) -> npt.NDArray[np.uint8]:
    """Open only the images of a packed folder: a read-only memory map of shape (N, S, S, 3), uint8."""
    images: npt.NDArray[np.uint8] = np.load(existing(folder / "images.npy"), mmap_mode="r", allow_pickle=False)
    return images


def read_index(folder: Path) -> list[Record]:
    """Return the rows of a packed folder's `index.csv`."""
    return [
        Record(
            name=row["name"],
            label=row["label"],
            split=row["split"],
            width=int(row["width"]),
            height=int(row["height"]),
            sha256=row["sha256"],
            phash=row["phash"],
            group=row["group"],
            slice=row.get("slice", ""),  # missing in older folders
        )
        for row in read_rows(folder / "index.csv")
    ]


@dataclass(frozen=True)
class Split:
    """The split of each packed row, in the order of the rows.

    labels: int64, shape (N,), indices into `classes`. splits: str, shape (N,), one of `SPLITS`, or "left out".
    leaks: bool, shape (N,), whether it is a test image with a copy among the source's training or validation images.
    groups: int64, shape (N,), equal for copies, near copies and images of one group of the source.
    """

    classes: list[str]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    leaks: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]

    def rows(self, split: SplitName) -> npt.NDArray[np.int64]:
        """Return the packed rows of a split, ascending."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def imbalance(self) -> float:
        """Return the ratio of the largest to the smallest class, by the number of images in use."""
        counts = np.bincount(self.labels[self.splits != LEFT_OUT], minlength=len(self.classes))
        return float(counts.max() / max(1, counts.min()))


def read_split(path: Path) -> Split:
    """Read `split.csv`. Classes are its labels, sorted."""
    # Row by row, without a mapping for each row: for millions of rows, these would need gigabytes.
    numbers: dict[str, int] = {}
    found, marks, groups = array("q"), array("b"), array("q")
    splits: list[str] = []
    with existing(path).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        label, split, leak, group = (header.index(name) for name in ("label", "split", "leak", "group"))
        for row in rows:
            found.append(numbers.setdefault(row[label], len(numbers)))
            splits.append(sys.intern(row[split]))
            marks.append(row[leak] == "1")
            groups.append(int(row[group]))
    classes = sorted(numbers)
    place = np.empty(len(numbers), dtype=np.int64)
    place[[numbers[name] for name in classes]] = np.arange(len(classes))
    labels = place[np.frombuffer(found, np.int64)]
    return Split(
        classes,
        labels,
        np.array(splits, dtype=np.str_),
        np.frombuffer(marks, np.int8).astype(np.bool_),
        np.frombuffer(groups, np.int64),
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header, one mapping per row."""
    with existing(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_sheet(path: Path) -> list[dict[str, str]]:
    """Read a file written by `frames.write`, and restore text that starts like a formula."""
    return [{key: spreadsheets.original(cell) for key, cell in row.items()} for row in read_rows(path)]


def existing(path: Path) -> Path:
    """Return `path`. Raises DarkroomError if it is not a file."""
    if not path.is_file():
        raise DarkroomError(f"{path} is missing: create it with dvc repro, or download it with dvc pull")
    return path


class PixelSummary:
    """Values computed from the pixels while they are packed: their checksum, and the moments of each image."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._moments: list[npt.NDArray[np.int64]] = []

    def add(self, pixels: npt.NDArray[np.uint8], moments: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Add the next image, shape (S, S, 3), and return its moments, shape (2, 3), which may be given."""
        self._digest.update(np.ascontiguousarray(pixels).data)
        if moments is None:
            values = pixels.reshape(-1, 3)
            counts = np.stack([np.bincount(values[:, channel], minlength=256) for channel in range(3)], 1)
            moments = _POWERS @ counts
        self._moments.append(moments)
        return moments

    def write(self, folder: Path) -> None:
        """Write `moments.npy` and `checksums.json` into a packed folder that has its `index.csv`.

        The moments are the sums of each channel's values and of their squares: int64, shape (N, 2, 3).
        """
        moments = np.stack(self._moments) if self._moments else np.zeros((0, 2, 3), np.int64)
        np.save(folder / "moments.npy", moments)
        sums = {"pixels": self._digest.hexdigest(), "index": files.sha256(folder / "index.csv")}
        files.write_json(folder / "checksums.json", sums)


_POWERS = np.stack([np.arange(256), np.arange(256) ** 2])


def channel_statistics(folder: Path, rows: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel of packed `rows`, for values 0 to 1, rounded to 4 digits.

    Computed from integers, so that the result does not depend on the order; for a constant channel, the deviation is
    0.01, to avoid division by zero.
    """
    moments = np.load(existing(folder / "moments.npy"), mmap_mode="r", allow_pickle=False)
    side = open_images(folder).shape[1]
    count = len(rows) * side * side
    first, second = (int_sums.astype(np.float64) / count for int_sums in moments[rows].sum(axis=0))
    deviations = np.sqrt(np.maximum(second - first**2, 0)) / 255
    return (
        [round(float(mean) / 255, 4) for mean in first],
        [max(round(float(deviation), 4), 1e-2) for deviation in deviations],
    )


def pixels_checksum(folder: Path) -> str:
    """Return the SHA-256 of a packed folder's pixels, computed while they were packed."""
    return str(files.read_json(existing(folder / "checksums.json"))["pixels"])


def fingerprint(folder: Path, split: Path) -> str:
    """Return the SHA-256 over the pixels, the index and the split, which identifies a model's data."""
    sums = files.read_json(existing(folder / "checksums.json"))
    return hashlib.sha256(f"{sums['pixels']}{sums['index']}{files.sha256(split)}".encode()).hexdigest()
