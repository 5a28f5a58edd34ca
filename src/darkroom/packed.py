"""The packed data set: every readable picture as one row of one array, and which split each row is in.

A packed folder holds `images.npy` (uint8, N×S×S×3, opened as a memory map), `index.csv` (row i describes
images[i]), `broken.csv` (the pictures set aside, each with its reason) and `source.json` (what the source is).
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from darkroom import files, spreadsheets
from darkroom.errors import DarkroomError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
LEFT_OUT = "left out"
"""What stands for the split of a picture that is in none."""
UNEVEN = 1.5
"""From this ratio of the largest to the smallest class on, accuracy speaks for the large classes alone."""


@dataclass(frozen=True)
class Record:
    """One readable picture: a row of `index.csv`."""

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
    """A picture that could not be read: a row of `broken.csv`."""

    name: str
    label: str
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
    images = np.load(_there(folder / "images.npy"), mmap_mode="r", allow_pickle=False)
    records = read_index(folder)
    broken = [Broken(**row) for row in read_sheet(folder / "broken.csv")]
    return Packed(images, records, broken, files.read_json(folder / "source.json"))


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
    leaks: bool, shape (N,), a test picture of which the source gives a copy for training or validation as well.
    """

    classes: list[str]
    labels: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    leaks: npt.NDArray[np.bool_]

    def rows(self, split: SplitName) -> npt.NDArray[np.int64]:
        """Return the packed rows of a split, ascending."""
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def imbalance(self) -> float:
        """Return how many times the pictures in use of the smallest class the largest one has."""
        counts = np.bincount(self.labels[self.splits != LEFT_OUT], minlength=len(self.classes))
        return float(counts.max() / max(1, counts.min()))


def write_split(
    path: Path, classes: Sequence[str], labels: Sequence[int], splits: Sequence[str], leaks: Sequence[bool] = ()
) -> None:
    """Write `split.csv`: one line a packed row (row, class name, split, leak as 1 or 0); no `leaks` are none."""
    marks = leaks or [False] * len(labels)
    lines = [
        (row, classes[label], split, int(leak))
        for row, (label, split, leak) in enumerate(zip(labels, splits, marks, strict=True))
    ]
    write_rows(path, ("row", "label", "split", "leak"), lines)


def read_split(path: Path) -> Split:
    """Read `split.csv`. Classes are its labels, sorted."""
    rows = read_rows(path)
    classes = sorted({row["label"] for row in rows})
    position = {name: index for index, name in enumerate(classes)}
    labels = np.array([position[row["label"]] for row in rows], dtype=np.int64)
    splits = np.array([row["split"] for row in rows], dtype=np.str_)
    return Split(classes, labels, splits, np.array([row["leak"] == "1" for row in rows], dtype=np.bool_))


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with LF line ends, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        # Python before 3.13 leaves a carriage return bare where lines end without one, and readers end the line there.
        (quoted if any("\r" in value for value in row if isinstance(value, str)) else writer).writerow(row)
    files.write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header, one mapping a row."""
    with _there(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_sheet(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with names in it for people, in which no name is a formula; `read_sheet` reads it."""
    write_rows(path, header, [[spreadsheets.neutral(value) for value in row] for row in rows])


def read_sheet(path: Path) -> list[dict[str, str]]:
    """Read what `write_sheet` wrote, as it was given."""
    return [{key: spreadsheets.original(cell) for key, cell in row.items()} for row in read_rows(path)]


def _there(path: Path) -> Path:
    if not path.is_file():
        raise DarkroomError(f"{path} is missing: dvc repro makes it, dvc pull gets it from where it was pushed to")
    return path


def fingerprint(folder: Path, split: Path) -> str:
    """Return the SHA-256 over the pixels, the index and the split: it names the data a model was made from."""
    parts = [files.sha256(path) for path in (folder / "images.npy", folder / "index.csv", split)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
