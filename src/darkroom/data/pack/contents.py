"""The content of a raw folder in any form: a list of images, and a function that reads them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from darkroom.data.archives import archive, layout, manifest
from darkroom.data.archives.layout import Item
from darkroom.data.archives.origin import find_archive, read_origin
from darkroom.data.pack import cifar
from darkroom.foundations import naming
from darkroom.packed import Broken


@dataclass(frozen=True)
class Contents:
    """The images of one archive."""

    archive: str
    """Name of the archive, for messages."""
    items: list[Item]
    set_aside: list[Broken]
    """Images that cannot be packed, with the reason."""
    read: Callable[[Collection[str]], Iterator[tuple[str, bytes | str]]]
    """Yields (name, bytes of an image file, or why it cannot be read) for each wanted name, in stored order."""
    warnings: Sequence[str] = ()
    """Warnings for the user about other files, in sentences."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Folder -> the split that it defines."""


def open_contents(raw: Path) -> Contents:
    """List the images of the archive in the folder `raw`, according to its form in `source.json`.

    Raises DarkroomError when the archive is damaged or has a wrong layout.
    """
    path, origin = find_archive(raw), read_origin(raw)
    title = naming.shown(path.name)
    if origin.form == "cifar10":
        return Contents(title, cifar.items(path), [], partial(cifar.read, path))
    arrangement = manifest.arrange(path, classes=origin.classes)
    items = layout.rename(arrangement.items, origin.classes, title)
    return Contents(title, items, arrangement.set_aside, partial(archive.read, path))
