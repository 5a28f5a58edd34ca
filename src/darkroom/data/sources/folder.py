"""A user's own images: a folder or an archive, with class folders or a manifest, converted to one archive."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from darkroom import fetching
from darkroom.data import tree
from darkroom.data.archives import archive, headers, layout, manifest
from darkroom.data.archives.origin import Origin
from darkroom.data.settings import FolderSource
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError

MAX_DOWNLOAD = 500_000_000_000
"""Size in bytes of the largest archive that is downloaded."""
PIECE = 1024 * 1024
"""Number of bytes of a file that are copied at once."""
CHANGED = "changed while it was being read: start again when no program is writing there"


def fetch(settings: FolderSource, inbox: Path, downloads: Path, out: Path) -> Origin:
    """Copy the archive, or the folder as a tar archive, to the folder `out`; partial downloads are kept in `downloads`.

    Raises DarkroomError when there are no images, too many bytes, no classes, an invalid manifest or a wrong checksum,
    or when `settings.classes` renames a class that does not exist.
    """
    names: list[str] | None = None
    if settings.url:
        path = _download(settings.url, settings.sha256 or "", downloads, out)
    else:
        place = Path(settings.path).expanduser() if settings.path else inbox
        found = locate(place, is_inbox=settings.path is None)
        path = out / ("folder.tar" if found.is_dir() else found.name)
        if found.is_dir():
            names = _pack_folder(found, path)
        else:
            shutil.copyfile(found, path)
        if settings.sha256 and (digest := files.sha256(path)) != settings.sha256:
            raise DarkroomError(
                f"{naming.shown(place)} has SHA-256 {digest}, but params.yaml has {settings.sha256}: "
                "check which one is correct"
            )
    # Reports a wrong layout before anything is written.
    arrangement = manifest.arrange(path, names, settings.classes)
    layout.rename(arrangement.items, settings.classes, naming.shown(path.name))
    layout.warn(arrangement.warnings)
    title = Path(urlsplit(settings.url).path if settings.url else settings.path or "").name
    return Origin(
        title=naming.shown(title) or settings.url or "Own images",
        source="own images",
        licence="",
        classes=settings.classes,
    )


def locate(place: Path, *, is_inbox: bool = False) -> Path:
    """Return the archive that `place` is or contains, or `place` itself if it contains class folders or a manifest.

    Raises DarkroomError when there is nothing, or more than one archive.
    """
    if place.is_file():
        archive.refuse_name(naming.shown(place.parent), place.name)
        return place
    if not place.is_dir():
        raise DarkroomError(
            f"{naming.shown(place)} does not exist: set source.path to a folder or an archive{_left_behind(place)}"
        )
    entries = [Path(entry.path) for entry in tree.entries(place)]
    archives = [path for path in entries if path.is_file() and archive.is_archive(path)]
    folders = [path for path in entries if path.is_dir()]
    if len(archives) > 1 or (archives and folders):
        names = naming.listed([path.name for path in (*archives, *folders)])
        raise DarkroomError(f"{naming.shown(place)} contains {names}: keep one archive, or only class folders")
    if archives:
        archive.refuse_name(naming.shown(place), archives[0].name)
        return archives[0]
    if not folders and not any(manifest.is_manifest(path.name) for path in entries):
        remedy = "put an archive or class folders there" if is_inbox else f"{layout.EXAMPLE}{_left_behind(place)}"
        raise DarkroomError(f"{naming.shown(place)} contains no images: {remedy}")
    return place


def _left_behind(place: Path) -> str:
    """Return why `place` may be empty in an experiment that runs in a copy of the tracked files, or an empty string."""
    workspace = Path(os.environ.get("DVC_ROOT", "")).resolve()  # where the experiment was started
    if place.is_absolute() or workspace / ".dvc" / "tmp" / "exps" not in Path.cwd().parents:
        return ""
    return (
        ". This experiment (--temp or --queue) runs in a copy of the tracked files, which does not include the images "
        f"in {workspace / place}: set source.path to that folder, or run without "
        "--temp and --queue"
    )


def _pack_folder(folder: Path, path: Path) -> list[str]:
    """Write the visible images and the manifest of a folder as a tar archive; return the names of all visible ones.

    Its bytes depend only on names and contents.

    Raises DarkroomError for a name that is not text.
    """
    names = []
    with path.open("wb") as tar:
        for name, file in tree.files(folder):
            archive.refuse_name(path.name, name)
            names.append(name)
            if name.endswith("/"):
                tar.write(headers.write_folder(name))
            elif layout.is_image(name) or manifest.is_manifest(name.rpartition("/")[2]):
                _add_file(tar, name, file)
        tar.write(headers.end(tar.tell()))
    return names


def _add_file(tar: BinaryIO, name: str, file: str) -> None:
    """Add a file in its current state. Raises DarkroomError when its size changes meanwhile."""
    with open(file, "rb", buffering=0) as content:  # noqa: PTH123  # a path object for each file takes longer
        size = os.fstat(content.fileno()).st_size
        tar.write(headers.write(name, size))
        written = 0
        # One byte more than there should be is read at the end, to notice that the file has grown.
        while (rest := size - written) > 0 and (piece := content.read(rest + 1 if rest < PIECE else PIECE - 1)):
            tar.write(piece)
            written += len(piece)
    if written != size:
        raise DarkroomError(f"{file} {CHANGED}")
    tar.write(bytes(-size % headers.BLOCK))


def _download(url: str, sha256: str, downloads: Path, out: Path) -> Path:
    name = Path(urlsplit(url).path).name
    if not archive.is_archive(Path(name)):
        raise DarkroomError(f"url '{naming.shown_address(url)}' must end in one of {', '.join(archive.SUFFIXES)}")
    checksum = fetching.Checksum("sha256", sha256)
    fetching.fetch([url], checksum, downloads, out / name, MAX_DOWNLOAD, "check the URL, the network and the checksum")
    return out / name
