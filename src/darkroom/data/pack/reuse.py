"""Reuse of decoded images: when a data set grows, only new images are decoded.

The array of the last run stays in a cache folder under a hard link, next to the metadata of its rows. It needs the
space of one array, since DVC replaces the stage's output by a copy from its own cache. An image is reused if a file has
the same bytes and its row still has its checksum, so a damaged cache costs time and never changes a result. Folders
appear in the cache complete, under names that depend on their content, so several processes can use it, and a killed
one leaves nothing that another one reads.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Self
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from darkroom import avif, colours, framing, images, quiet
from darkroom.data.pack import hashing, opening, traits
from darkroom.data.pack.opening import Opened
from darkroom.data.pack.traits import Traits
from darkroom.data.settings import PackSettings

KEPT = 1
"""Largest number of arrays in the cache, each of which needs its space; the oldest one is removed first."""
ABANDONED = 3600.0
"""Seconds after which an incomplete folder is one of a killed process."""
CODE: tuple[ModuleType, ...] = (avif, colours, framing, hashing, images, opening, quiet, traits)
"""The modules that turn the bytes of a file into pixels and metadata: their text is part of the key."""
CODECS = ("avif", "jpg", "libjpeg_turbo", "libtiff", "littlecms2", "webp", "webp_mux", "zlib", "zlib_ng")
ROWS, IMAGES = "rows.txt", "images.npy"
CHECKSUM = 64
"""Number of characters of a SHA-256."""


class _Row(NamedTuple):
    """A row of a kept array."""

    file: FileIO
    position: int
    """Where its pixels begin in the file, in bytes."""
    line: str
    """Its checksum, a space, and its metadata as JSON."""


class Decoded:
    """The decoded images of earlier runs with the same settings and code; without a folder, there are none.

    A context manager: it keeps files open. Nothing is raised if the cache cannot be read or written.
    """

    def __init__(self, folder: Path | None, settings: PackSettings) -> None:
        self._folder, self._shape = folder, (settings.image_size, settings.image_size, 3)
        self._key = key(settings) if folder else ""
        self._files = ExitStack()
        self._rows: dict[str, _Row] = {}
        self._written: list[str] = []
        self.reused = 0
        """Number of images that were not decoded again."""

    def __enter__(self) -> Self:
        # The newest one last, since its rows replace those of the others.
        for entry in sorted(_entries(self._folder, self._key[:16]), key=_age, reverse=True) if self._folder else ():
            with contextlib.suppress(OSError, ValueError):  # damaged, or removed by another process
                self._load(entry)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @property
    def is_empty(self) -> bool:
        """Whether no image is known."""
        return not self._rows

    def find(self, data: bytes) -> Opened | None:
        """Return the decoded image in a file's bytes, if it is known and undamaged."""
        digest = hashlib.sha256(data).hexdigest()
        if (row := self._rows.get(digest)) is None:
            return None
        try:
            row.file.seek(row.position)
            pixels = row.file.read(self._shape[0] * self._shape[1] * 3)
        except OSError:
            return None
        checksum, facts = row.line[:CHECKSUM], row.line[CHECKSUM + 1 :]
        if checksum != self._checksum(facts, pixels):
            return None
        _, width, height, phash, read, moments = json.loads(facts)
        self.reused += 1
        return Opened(
            np.frombuffer(pixels, np.uint8).reshape(self._shape),
            width, height, digest, phash, traits=Traits(*read), moments=np.array(moments, dtype=np.int64),
            line=row.line,
        )  # fmt: skip

    def add(self, opened: Opened, moments: npt.NDArray[np.int64]) -> None:
        """Note the next row of the array that is being written, with its moments, shape (2, 3)."""
        if not self._folder or opened.pixels is None:
            return
        line = opened.line
        if not line:
            read = list(opened.traits or Traits(0))
            facts = json.dumps([opened.sha256, opened.width, opened.height, opened.phash, read, moments.tolist()])
            line = f"{self._checksum(facts, opened.pixels.tobytes())} {facts}"
        self._written.append(f"{line}\n")

    def keep(self, array: Path) -> None:
        """Add the array to the cache, which the rows that were noted describe, and remove old ones.

        array: a .npy file, complete and not to be edited in place. If it is on a file system without hard links, or on
        another one than the cache, the cache stays as it is.
        """
        if not self._folder:
            return
        text = "".join(self._written)
        name = f"{self._key[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        partial = self._folder / f".{name}.{uuid4().hex}"
        try:
            partial.mkdir(parents=True)
            os.link(array, partial / IMAGES)
            (partial / ROWS).write_text(text, encoding="ascii")
            _replace(partial, self._folder / name)
            _remove_old(self._folder)
        except OSError:  # no hard links, no space, or no permission
            pass
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _load(self, entry: Path) -> None:
        lines = (entry / ROWS).read_text(encoding="ascii").splitlines()
        file = self._files.enter_context((entry / IMAGES).open("rb", buffering=0))
        size = self._shape[0] * self._shape[1] * 3
        begin = max(0, os.fstat(file.fileno()).st_size - len(lines) * size)  # after NumPy's header
        for number, line in enumerate(lines):
            image = line[CHECKSUM + 3 :][:CHECKSUM]  # the first value of the metadata
            self._rows[image] = _Row(file, begin + number * size, line)

    def _checksum(self, facts: str, pixels: bytes) -> str:
        """Return the checksum of a row, which also depends on how it was decoded."""
        found = hashlib.sha256(f"{self._key} {facts} ".encode())
        found.update(pixels)
        return found.hexdigest()


def key(settings: PackSettings) -> str:
    """Return a hash of everything except the file that determines the pixels and metadata of an image."""
    found = hashlib.sha256()
    for module in CODE:
        found.update(Path(str(module.__file__)).read_bytes())
    versions = {name: features.version(name) for name in CODECS}
    parts = [settings.image_size, settings.fit, PIL.__version__, np.__version__, platform.machine(), versions]
    found.update(json.dumps(parts, sort_keys=True).encode())
    return found.hexdigest()


def _entries(folder: Path, start: str = "") -> list[Path]:
    """Return the complete folders in the cache whose names begin with `start`."""
    try:
        return [path for path in folder.iterdir() if path.name.startswith(start) and not path.name.startswith(".")]
    except OSError:
        return []


def _replace(partial: Path, entry: Path) -> None:
    """Move a folder to its name, instead of an older one with equal content."""
    if entry.exists():  # its array may be another file, which nothing else holds any more
        shutil.rmtree(entry, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process was faster
        partial.rename(entry)


def _remove_old(folder: Path) -> None:
    for entry in sorted(_entries(folder), key=_age)[KEPT:]:
        shutil.rmtree(entry, ignore_errors=True)
    for path in folder.glob(".*"):
        if _age(path) > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Return the seconds since a folder was made; infinity if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
