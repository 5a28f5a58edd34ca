"""Reading zip and tar archives member by member, without ever unpacking one to disk."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from darkroom import naming
from darkroom.errors import DarkroomError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)
MAX_MEMBER = 256 * 1024 * 1024
"""The largest member that is read, in bytes: far above any photograph, far below a bomb."""


def is_archive(path: Path) -> bool:
    """Return whether a file's name says that it is an archive we read."""
    return path.name.lower().endswith(SUFFIXES)


def names(path: Path) -> list[str]:
    """Return the names of all files in an archive, in stored order, and of its folders, ending in a slash.

    Raises DarkroomError when it is no archive, is damaged, or holds a path that climbs out, a link, a name that is
    no text, or one twice.
    """
    found: list[str] = []
    seen: set[PurePosixPath] = set()
    for name, _ in _walk(path, wanted=()):
        refuse_name(path.name, name)
        if not name.endswith("/"):
            if (plain := PurePosixPath(name)) in seen:
                raise DarkroomError(
                    f"{path.name} holds {naming.shown(name)} twice, as after adding to it: make it anew"
                )
            seen.add(plain)
        found.append(name)
    return found


def read(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) for each wanted member, in stored order.

    A member above `MAX_MEMBER` or damaged inside a whole zip comes as empty bytes, which no decoder accepts.
    """
    for name, data in _walk(path, wanted):
        if data is not None:
            yield name, data


def _walk(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield every file of the archive with its bytes if it is wanted, None if not, and every folder."""
    if not is_archive(path):
        raise DarkroomError(f"{path.name} is not an archive that can be read: use one of {', '.join(SUFFIXES)}")
    walk = _walk_zip if path.name.lower().endswith(".zip") else _walk_tar
    try:
        yield from walk(path, wanted)
    # NotImplementedError is zipfile's for a compression or version that Python does not have.
    except (*DAMAGED, tarfile.TarError, NotImplementedError) as error:
        raise DarkroomError(f"{path.name} is damaged or cut short ({error}): fetch or make it again") from None


def _walk_zip(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                yield info.filename, None
                continue
            if info.flag_bits & 0x1:
                raise DarkroomError(f"{path.name} is encrypted: make an archive without a password")
            if info.external_attr >> 16 & 0o170000 == 0o120000:
                raise DarkroomError(_link_message(path, info.filename))
            data = None
            if info.filename in wanted:
                try:
                    data = archive.read(info) if info.file_size <= MAX_MEMBER else b""
                except DAMAGED:
                    data = b""  # only this member is damaged: it is set aside like any broken picture
            yield info.filename, data


def _walk_tar(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    with tarfile.open(path, "r|*") as archive:  # a stream: one pass, no index of members kept
        for member in archive:
            if member.issym() or member.islnk():
                raise DarkroomError(_link_message(path, member.name))
            if member.isdir():
                yield f"{member.name}/", None
            if not member.isfile():
                continue
            data = None
            if member.name in wanted:
                file = archive.extractfile(member)
                data = file.read() if file and member.size <= MAX_MEMBER else b""
            yield member.name, data


def refuse_name(title: str, name: str) -> None:
    """Raise DarkroomError for a name that is no text or climbs out; `title` is what the message calls the archive."""
    if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DarkroomError(
            f"{title} holds '{naming.shown(name)}', a name that is not UTF-8: rename it and make it again"
        )
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and pure.parts[0].endswith(":")):
        raise DarkroomError(
            f"{title} holds '{naming.shown(name)}', a path that leads out of the archive: make it again from the "
            "folder itself"
        )


def _link_message(path: Path, name: str) -> str:
    return (
        f"{path.name} holds the link '{naming.shown(name)}': make the archive again with the files themselves (tar -h)"
    )
