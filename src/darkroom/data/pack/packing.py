"""From an archive of images to a packed folder: on all cores, in bounded memory, with reproducible bytes."""

import shutil
from dataclasses import astuple, fields
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from darkroom.data.archives import layout
from darkroom.data.pack import opening, sheets
from darkroom.data.pack.contents import open_contents
from darkroom.data.pack.reuse import Decoded
from darkroom.data.pack.traits import Traits
from darkroom.data.settings import PackSettings
from darkroom.packed import Broken, PixelSummary, Record, write_fit
from darkroom.progress import progress


def pack(
    raw: Path, settings: PackSettings, out: Path, workers: int | None = None, decoded: Decoded | None = None
) -> tuple[int, list[Broken]]:
    """Pack the archive in the folder `raw` into the existing folder `out`.

    `workers` is the number of processes (by default one per core); it affects the time, never the bytes. Pixels are
    written as they come, so memory does not grow with them; only about 2 KB of metadata per image is kept. `decoded`
    contains the images of earlier runs, which are not decoded again; those of this run are added to it.

    Returns the number of packed images, and those that were excluded.

    Raises DarkroomError when the archive is damaged, has a wrong layout, or a class has no readable image.
    """
    contents = open_contents(raw)
    items = layout.limit(contents.items, settings.limit_per_class)
    by_name = {item.name: item for item in items}
    records: list[Record] = []
    traits: list[Traits] = []
    broken = list(contents.set_aside)
    summary = PixelSummary()
    decoded = decoded or Decoded(None, settings)
    with (out / "images.npy").open("wb") as file, progress("pack", len(items), "images") as advance:
        _write_header(file, len(items), settings.image_size)
        known = None if decoded.is_empty else decoded.find
        read = contents.read(by_name)
        for name, opened in opening.open_all(read, settings.image_size, workers, settings.fit, known):
            item = by_name[name]
            if opened.pixels is None:
                broken.append(Broken(name, item.label, opened.reason))
            else:
                file.write(opened.pixels.tobytes())
                decoded.add(opened, summary.add(opened.pixels, opened.moments))
                facts = (opened.width, opened.height, opened.sha256, opened.phash)
                traits.append(opened.traits or Traits(0))
                records.append(Record(name, item.label, item.split, *facts, item.group, item.slice))
            advance(1)
        file.seek(0)
        _write_header(file, len(records), settings.image_size)
    layout.refuse_unreadable_classes(items, (record.label for record in records), broken, contents.archive)
    columns = [field.name for field in fields(Record)]
    sheets.write(out / "index.csv", columns, map(attrgetter(*columns), records), escape=False)
    files = ((record.name, *facts_of) for record, facts_of in zip(records, traits, strict=True))
    sheets.write(out / "files.csv", ("name", *Traits._fields), files)
    aside = map(astuple, sorted(broken, key=lambda item: item.name))
    sheets.write(out / "broken.csv", [field.name for field in fields(Broken)], aside)
    summary.write(out)
    shutil.copyfile(raw / "source.json", out / "source.json")
    write_fit(out, settings.fit)
    return len(records), broken


def _write_header(file: BinaryIO, count: int, size: int) -> None:
    """Write a .npy header; NumPy reserves space in it for the first axis to grow, so its length never changes."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)
