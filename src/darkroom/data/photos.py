"""A user's images in a folder or an archive: listed and read in place, without copying."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from darkroom.data import tree
from darkroom.data.archives import archive, manifest, unpacking
from darkroom.data.pack.contents import Contents
from darkroom.data.sources import folder
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError


def open_photos(place: Path, classes: Collection[str] = ()) -> Contents:
    """List the images of a folder or an archive in the same way as the stages `download` and `pack`.

    classes: folders that are classes whatever their names, as in `source.classes`.

    Raises DarkroomError when there are none, no classes, a wrong manifest, or a damaged archive.
    """
    try:
        found = folder.locate(place)
        if found.is_file():
            arrangement = manifest.arrange(found, classes=classes)
            return Contents(
                naming.shown(found.name),
                arrangement.items,
                arrangement.set_aside,
                partial(archive.read, found),
                arrangement.warnings,
                arrangement.splits,
            )
        names = [name for name, _ in tree.walk(found)]
    except OSError as error:
        raise DarkroomError(
            f"{naming.shown(error.filename or place)} cannot be read ({error.strerror}): change its permissions"
        ) from None
    title = naming.shown(place)
    for name in names:
        archive.refuse_name(title, name)
    arrangement = manifest.arrange_names(names, title, lambda name: (found / name).read_bytes(), classes)
    read = partial(_read, found)
    return Contents(title, arrangement.items, arrangement.set_aside, read, arrangement.warnings, arrangement.splits)


def _read(place: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | str]]:
    for name in sorted(wanted):
        path = place / name
        try:
            size = path.stat().st_size
            yield name, path.read_bytes() if size <= unpacking.MAX_MEMBER else unpacking.too_large(size)
        except OSError as error:
            raise DarkroomError(
                f"{naming.shown(path)} cannot be read ({error.strerror}): change its permissions, or remove it"
            ) from None
