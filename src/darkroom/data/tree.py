"""A folder of a person's, walked by the same rules wherever images are looked for."""

import os
from collections.abc import Iterator
from pathlib import Path

from darkroom.data.archives import layout
from darkroom.foundations.errors import DarkroomError


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name inside, path) of everything visible in a folder, by name, each folder before what it holds.

    The names of folders end in a slash. What systems leave behind is passed over.

    Raises DarkroomError for a folder that cannot be read, a link, and an image that is neither file nor folder.
    """
    waiting = [("", entry) for entry in reversed(entries(folder))]
    while waiting:
        inside, entry = waiting.pop()
        name, path = f"{inside}{entry.name}", Path(entry.path)
        if entry.is_symlink():
            raise DarkroomError(f"{path} is a link: put the file or folder itself there")
        if entry.is_dir():
            yield f"{name}/", path
            waiting += [(f"{name}/", inner) for inner in reversed(entries(path))]
        elif entry.is_file():
            yield name, path
        elif layout.is_image(name):
            raise DarkroomError(f"{path} is neither a file nor a folder: remove it")


def images(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what `walk` does for files that are images by their names."""
    return ((name, path) for name, path in walk(folder) if layout.is_image(name))


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is visible in a folder, by name. Raises DarkroomError when it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not layout.is_system(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DarkroomError(
            f"{folder} cannot be read ({error.strerror}), so images in it would be lost: change its permissions, or "
            "move it elsewhere"
        ) from None
