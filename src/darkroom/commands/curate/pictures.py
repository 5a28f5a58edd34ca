"""The images of the page: originals for the cases, and packed images for examples and copies."""

import io
import tempfile
import threading
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom import framing, images, packed
from darkroom.commands.curate.cases import PACKED, Case, Project
from darkroom.data.pack.contents import open_contents
from darkroom.foundations.errors import DarkroomError

RAW = Path("data/raw")
LARGEST = 720
"""Longer side in pixels of an original on the page."""
EXAMPLES = 4
"""Number of example images of a class."""
COMPARED = 300
"""Images of each class among which the examples are searched."""
SIDE = 8
"""Side in pixels of the thumbnails with which similar examples are found."""

Floats = npt.NDArray[np.float32]


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels, uint8 of shape (S, S, 3), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def shown(data: bytes) -> bytes | None:
    """Return any image file as an upright JPEG file of at most `LARGEST` pixels a side, None if it cannot be read."""
    try:
        side = min(LARGEST, max(images.sides(data)))
        decoded = images.decode(data, side, fit="pad")
    except (images.ImageError, OSError):
        return None
    file = io.BytesIO()
    box = framing.content(decoded.width, decoded.height, side, "pad")
    Image.fromarray(decoded.pixels).crop(box).save(file, "JPEG", quality=90)
    return file.getvalue()


class Originals:
    """The original images of the cases, decoded in the background in the order of the archive.

    They show more than packed images, which are small and usually cropped. They are kept in a temporary folder.
    """

    def __init__(self, project: Project, cases: Sequence[Case], side: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="darkroom-curate-", ignore_cleanup_errors=True)
        self._rows = {
            project.records[case.row].name: case.row
            for case in cases
            if case.rows
            and not case.scene
            and max(project.records[case.row].width, project.records[case.row].height) > side
        }
        self._ready = {row: threading.Event() for row in self._rows.values()}
        self._stopped = False
        self._thread = threading.Thread(target=self._decode, daemon=True)
        self._thread.start()

    def read(self, row: int, patience: float) -> bytes | None:
        """Return the original of a row as a JPEG file, None if there is none, or not within `patience` seconds."""
        if row not in self._ready or not self._ready[row].wait(patience):
            return None
        path = self._path(row)
        return path.read_bytes() if path.is_file() else None

    def join(self) -> None:
        """Wait until all are decoded."""
        self._thread.join()

    def close(self) -> None:
        """Stop decoding and remove the files."""
        self._stopped = True
        self.join()
        self._folder.cleanup()

    def _path(self, row: int) -> Path:
        return Path(self._folder.name) / f"{row}.jpg"

    def _decode(self) -> None:
        try:
            for name, data in open_contents(RAW).read(set(self._rows)) if self._rows else ():
                if self._stopped:
                    return
                if isinstance(data, bytes):
                    self._write(self._rows[name], data)
        except (DarkroomError, OSError):
            pass  # without the archive, packed images are shown
        finally:
            for event in self._ready.values():
                event.set()

    def _write(self, row: int, data: bytes) -> None:
        if content := shown(data):
            self._path(row).write_bytes(content)
            self._ready[row].set()


class Gallery:
    """Packed images, and examples of each class that resemble an image."""

    def __init__(self, project: Project, cases: Collection[Case]) -> None:
        self._pixels = packed.open_images(PACKED)
        self._project = project
        self._suspicious = {row for case in cases if not case.scene for row in case.rows}
        self._classes: dict[str, tuple[npt.NDArray[np.int64], Floats]] = {}

    @cached_property
    def side(self) -> int:
        """Side of the packed images in pixels."""
        return int(self._pixels.shape[1])

    def read(self, row: int) -> bytes:
        """Return a packed image as a PNG file."""
        return png(self._pixels[row])

    def examples(self, label: str, case: Case) -> list[int]:
        """Return rows of a class that are in no case, those that are most similar to the case first."""
        if label not in self._classes:
            self._classes[label] = self._thumbnails(label)
        rows, thumbnails = self._classes[label]
        if not len(rows):
            return []
        wanted = self._thumbnail(case.row) if case.rows else thumbnails.mean(axis=0)
        distances = ((thumbnails - wanted) ** 2).sum(axis=1)
        return [int(found) for found in rows[np.argsort(distances, kind="stable")]][:EXAMPLES]

    def _thumbnails(self, label: str) -> tuple[npt.NDArray[np.int64], Floats]:
        split = self._project.split
        if label not in split.classes:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        # Images left out may be broken or in two classes, so they are no examples.
        used = (split.labels == split.classes.index(label)) & (split.splits != packed.LEFT_OUT)
        rows = np.array([row for row in np.flatnonzero(used).tolist() if row not in self._suspicious], dtype=np.int64)
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:COMPARED])
        return rows, np.stack([self._thumbnail(row) for row in rows]) if len(rows) else np.zeros((0, 0), np.float32)

    def _thumbnail(self, row: int) -> Floats:
        small = Image.fromarray(np.asarray(self._pixels[row])).resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32).reshape(-1)
