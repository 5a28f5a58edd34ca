"""Inspection of a folder of images before the pipeline runs, without copying anything."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom.data.archives import layout
from darkroom.data.pack import opening
from darkroom.data.photos import open_photos
from darkroom.data.split import scenes
from darkroom.data.split.duplicates import Copies, find
from darkroom.packed import Broken, Record
from darkroom.progress import progress

SIZE = 32
"""Side in pixels at which images are compared to find copies, which takes 3 KB of memory per image. The pipeline
compares them at the size that the model receives, so the numbers of near copies may differ slightly."""
GREY = 16
"""Largest difference between the channels of a pixel in a greyscale image, to allow for JPEG artefacts."""


@dataclass(frozen=True)
class Survey:
    """Result of the inspection."""

    records: list[Record]
    """The readable images."""
    broken: list[Broken]
    copies: Copies
    """Among `records`."""
    greyscale: int
    """Number of greyscale images among `records`."""
    warnings: Sequence[str] = ()
    """Warnings for the user about other files, in sentences."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Folder -> the split that it defines."""
    bursts: int = 0
    """Number of images in a burst with others that are not their copies."""

    @property
    def short_sides(self) -> npt.NDArray[np.int64]:
        """The shorter side of each readable image in pixels, shape (N,)."""
        return np.array([min(record.width, record.height) for record in self.records], dtype=np.int64)

    @property
    def seen(self) -> float:
        """Median fraction of an image that its central square shows, above 0 and at most 1."""
        return float(np.median([min(each.width, each.height) / max(each.width, each.height) for each in self.records]))


def survey(place: Path, near_copies: int, classes: Collection[str] = ()) -> Survey:
    """Read every image in the folder or archive `place` in the same way as the pipeline.

    near_copies: number of bits, of 64, in which perceptual hashes of near copies may differ.
    classes: folders that are classes whatever their names, as in `source.classes`.

    Raises DarkroomError as `open_photos` does, and when a class has no image that can be read.
    """
    contents = open_photos(place, classes)
    by_name = {item.name: item for item in contents.items}
    records: list[Record] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    cameras: list[str] = []
    taken: list[str] = []
    broken = list(contents.set_aside)
    with progress("read", len(by_name), "images") as advance:
        for name, opened in opening.open_all(contents.read(by_name), SIZE):
            item = by_name[name]
            if opened.pixels is None:
                broken.append(Broken(name, item.label, opened.reason))
            else:
                facts = (opened.width, opened.height, opened.sha256, opened.phash)
                records.append(Record(name, item.label, item.split, *facts, item.group, item.slice))
                pixels.append(opened.pixels)
                cameras.append(opened.traits.camera if opened.traits else "")
                taken.append(opened.traits.taken if opened.traits else "")
            advance(1)
    layout.refuse_unreadable_classes(contents.items, (record.label for record in records), broken, contents.archive)
    greyscale = sum(bool(np.ptp(picture, axis=2).max() <= GREY) for picture in pixels)
    images = np.stack(pixels)
    copies = find(records, images, near_copies)
    bursts = scenes.find_bursts(records, images, copies.clusters, cameras, taken)
    in_bursts = np.bincount(np.unique(np.stack([bursts, copies.clusters]), axis=1)[0])[bursts] > 1
    broken.sort(key=lambda item: item.name)
    return Survey(records, broken, copies, greyscale, contents.warnings, contents.splits, int(in_bursts.sum()))
