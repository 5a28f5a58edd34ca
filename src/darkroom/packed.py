"""The packed data set: every readable image as one row of one array, and which split each row is in.

A packed folder holds `images.npy` (uint8, N×S×S×3, opened as a memory map), `index.csv` (row i describes
images[i]), `broken.csv` (the images set aside, each with its reason), `source.json` (what the source is), and two
files that spare everybody else from reading all pixels again: `moments.npy` and `checksums.json`.
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

from darkroom import spreadsheets
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LEFT_OUT = "left out"
"""What stands for the split of an image that is in none."""
UNEVEN = 1.5
"""From this ratio of the largest to the smallest class on, accuracy speaks for the large classes alone."""


@dataclass(frozen=True)
class Record:
    """One readable image: a row of `index.csv`."""

    name: str
    """Path inside the archive."""
    label: str
    """Class name."""
    split: str
    """The split that the source itself gives it (train, validation or test), or empty."""
    width: int
    """Width as stored, upright, in pixels."""
    height: int
    sha256: str
    """SHA-256 of the file's bytes, 64 hexadecimal digits: equal for exact copies."""
    phash: str
    """Perceptual hash (64 bits as 16 hexadecimal digits): few bits differ between near copies."""
    group: str = ""
    """What it shares with others (same object, patient, burst), or empty: a group stays on one side of the split."""
    slice: str = ""
    """What the source tells it apart by (camera, place, season), or empty: accuracy is told for each."""


@dataclass(frozen=True)
class Broken:
    """An image that was set aside: a row of `broken.csv`."""

    name: str
    label: str
    """Class name; empty where it lies in no class folder, so nobody knows whether it can be read."""
    reason: str


@dataclass(frozen=True)
class Packed:
    """A packed folder, opened. `images` is a read-only memory map of shape (N, S, S, 3), uint8."""

    images: npt.NDArray[np.uint8]
    records: list[Record]
    broken: list[Broken]
    source: dict[str, Any]


def open_packed(folder: Path) -> Packed:
    """Open a packed folder; pixels are read from disk when they are touched."""
    images, records = open_images(folder), read_index(folder)
    broken = [Broken(**row) for row in read_sheet(folder / "broken.csv")]
    return Packed(images, records, broken, files.read_json(folder / "source.json"))


def open_images(folder: Path) -> npt.NDArray[np.uint8]:
    """Open the images of a packed folder and nothing else: a read-only memory map of shape (N, S, S, 3), uint8."""
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
            slice=row.get("slice", ""),  # an older folder has none
        )
        for row in read_rows(folder / "index.csv")
    ]


@dataclass(frozen=True)
class Split:
    """Which split each packed row is in, in the order of the rows.

    labels: int64, shape (N,), positions in `classes`. splits: str, shape (N,), one of `SPLITS`, or "left out".
    leaks: bool, shape (N,), a test image of which the source gives a copy for training or validation as well.
    """

    classes: list[str]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    leaks: npt.NDArray[np.bool_]

    def rows(self, split: SplitName) -> npt.NDArray[np.int64]:
        """Return the packed rows of a split, ascending."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def imbalance(self) -> float:
        """Return how many times the images in use of the smallest class the largest one has."""
        counts = np.bincount(self.labels[self.splits != LEFT_OUT], minlength=len(self.classes))
        return float(counts.max() / max(1, counts.min()))


def read_split(path: Path) -> Split:
    """Read `split.csv`. Classes are its labels, sorted."""
    # Row by row, with no mapping each: of millions of rows those would take gigabytes.
    numbers: dict[str, int] = {}
    found, marks = array("q"), array("b")
    splits: list[str] = []
    with existing(path).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        label, split, leak = (header.index(name) for name in ("label", "split", "leak"))
        for row in rows:
            found.append(numbers.setdefault(row[label], len(numbers)))
            splits.append(sys.intern(row[split]))
            marks.append(row[leak] == "1")
    classes = sorted(numbers)
    place = np.empty(len(numbers), dtype=np.int64)
    place[[numbers[name] for name in classes]] = np.arange(len(classes))
    labels = place[np.frombuffer(found, np.int64)]
    return Split(classes, labels, np.array(splits, dtype=np.str_), np.frombuffer(marks, np.int8).astype(np.bool_))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header, one mapping a row."""
    with existing(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_sheet(path: Path) -> list[dict[str, str]]:
    """Read what `frames.write` wrote, text that begins like a formula included."""
    return [{key: spreadsheets.original(cell) for key, cell in row.items()} for row in read_rows(path)]


def existing(path: Path) -> Path:
    """Return `path`. Raises DarkroomError where it is no file."""
    if not path.is_file():
        raise DarkroomError(f"{path} is missing: dvc repro makes it, dvc pull gets it from where it was pushed to")
    return path


class PixelSummary:
    """What is computed of the pixels while they are packed: their checksum and each image's moments."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._moments: list[npt.NDArray[np.int64]] = []

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Take in the next image, shape (S, S, 3)."""
        self._digest.update(np.ascontiguousarray(pixels).data)
        values = pixels.reshape(-1, 3)
        counts = np.stack([np.bincount(values[:, channel], minlength=256) for channel in range(3)], 1)
        self._moments.append(_POWERS @ counts)

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
    """Return mean and standard deviation per channel of packed `rows`, on values 0 to 1, rounded to 4 digits.

    From whole numbers, so that no sum depends on its order; a constant channel has a deviation of 0.01, by which
    one can divide.
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
    """Return the SHA-256 of a packed folder's pixels, as it was computed while they were packed."""
    return str(files.read_json(existing(folder / "checksums.json"))["pixels"])


def fingerprint(folder: Path, split: Path) -> str:
    """Return the SHA-256 over the pixels, the index and the split: it names the data a model was made from."""
    sums = files.read_json(existing(folder / "checksums.json"))
    return hashlib.sha256(f"{sums['pixels']}{sums['index']}{files.sha256(split)}".encode()).hexdigest()
