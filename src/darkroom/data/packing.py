"""From an archive of pictures to a packed folder: all cores, bounded memory, the same bytes every time."""

import hashlib
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom import images
from darkroom.data import layout
from darkroom.data.contents import open_contents
from darkroom.data.settings import PackSettings
from darkroom.packed import Broken, Record, write_rows
from darkroom.progress import progress

CHUNK = 128
"""Pictures handed to a worker at once."""
FEW = 4_000
"""Up to this many pictures one process is quicker than starting others."""


@dataclass(frozen=True)
class Opened:
    """What a worker returns for one picture: pixels and facts, or the reason why there are none."""

    pixels: npt.NDArray[np.uint8] | None
    width: int = 0
    height: int = 0
    sha256: str = ""
    phash: str = ""
    reason: str = ""


def pack(raw: Path, settings: PackSettings, out: Path, workers: int | None = None) -> tuple[int, list[Broken]]:
    """Pack the archive in the folder `raw` into the existing folder `out`.

    `workers` is the number of processes (one a core by default); it changes the time, never the bytes.
    Returns how many pictures were packed, and those set aside.

    Raises DarkroomError when the archive is damaged, has a wrong layout, or a class has no readable picture.
    """
    contents = open_contents(raw)
    items = layout.limit(contents.items, settings.limit_per_class)
    by_name = {item.name: item for item in items}
    records: list[Record] = []
    broken = list(contents.set_aside)
    with (out / "images.npy").open("wb") as file, progress("pack", len(items), "images") as advance:
        _write_header(file, len(items), settings.image_size)
        for name, opened in _open_all(contents.read(by_name), len(items), settings.image_size, workers):
            item = by_name[name]
            if opened.pixels is None:
                broken.append(Broken(name, item.label, opened.reason))
            else:
                file.write(opened.pixels.tobytes())
                facts = (opened.width, opened.height, opened.sha256, opened.phash)
                records.append(Record(name, item.label, item.split, *facts, item.group))
            advance(1)
        file.seek(0)
        _write_header(file, len(records), settings.image_size)
    layout.refuse_unreadable_classes(items, (record.label for record in records), contents.archive)
    _write_table(out / "index.csv", Record, records)
    _write_table(out / "broken.csv", Broken, sorted(broken, key=lambda item: item.name))
    shutil.copyfile(raw / "source.json", out / "source.json")
    return len(records), broken


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    """Write a .npy header; NumPy leaves room in it for the first axis to grow, so its length never changes."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _write_table(path: Path, kind: type[Record] | type[Broken], rows: Sequence[Record] | Sequence[Broken]) -> None:
    write_rows(path, [field.name for field in fields(kind)], [astuple(row) for row in rows])


def _open_all(
    members: Iterable[tuple[str, bytes]], count: int, size: int, workers: int | None
) -> Iterator[tuple[str, Opened]]:
    """Yield (name, opened) in the order of `members`, whatever the number of processes."""
    processes = workers or os.cpu_count() or 1
    if processes == 1 or (workers is None and count <= FEW):
        for name, data in members:
            yield name, _open_one(data, size)
        return
    # Spawned, not forked: a child of a threaded parent may deadlock, and every system has spawn.
    context = multiprocessing.get_context("spawn")
    stream = iter(members)
    waiting: deque[tuple[list[str], Future[list[Opened]]]] = deque()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        while True:
            while len(waiting) < 2 * processes and (chunk := list(islice(stream, CHUNK))):
                names = [name for name, _ in chunk]
                waiting.append((names, pool.submit(_open_many, [data for _, data in chunk], size)))
            if not waiting:
                return
            names, future = waiting.popleft()
            yield from zip(names, future.result(), strict=True)


def _open_many(chunk: list[bytes], size: int) -> list[Opened]:
    return [_open_one(data, size) for data in chunk]


def _open_one(data: bytes, size: int) -> Opened:
    try:
        decoded = images.decode(data, size)
    except images.ImageError as error:
        return Opened(None, reason=str(error))
    phash = str(imagehash.phash(Image.fromarray(decoded.pixels)))
    return Opened(decoded.pixels, decoded.width, decoded.height, hashlib.sha256(data).hexdigest(), phash)
