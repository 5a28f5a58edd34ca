"""Reading zip and tar archives member by member, without extracting them to disk."""

import errno
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from darkroom.data.archives import tars, zips
from darkroom.data.archives.unpacking import Member
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, LookupError,
    ArithmeticError, RuntimeError,
)  # fmt: skip
"""Exceptions that zipfile, tarfile and the decompressors raise for damaged files. RuntimeError includes zipfile's
NotImplementedError for compression methods that it does not know."""

_UNSAFE = re.compile(r"^/|[\\:]|\.\.")
"""Every name that leads out of an archive contains one of these; some others do, too."""


@dataclass(frozen=True)
class Listing:
    """The content of an archive."""

    names: list[str]
    """For all files, in stored order, and for folders, whose names end in a slash."""
    warnings: list[str]


def is_archive(path: Path) -> bool:
    """Return whether a file has the suffix of a supported archive."""
    return path.name.lower().endswith(SUFFIXES)


def names(path: Path) -> list[str]:
    """Return the names of all files in an archive, in stored order, and of its folders, whose names end in a slash.

    Raises DarkroomError when the file is not an archive, is damaged, is too large when unpacked, or contains a path
    that leads out of the archive, a link, a name that is not text, or a duplicate name.
    """
    return list_members(path).names


def list_members(path: Path) -> Listing:
    """Return the names as `names` does, with warnings for the user."""
    found: list[str] = []
    guessed: list[str] = []
    seen: set[str] = set()
    for name, _, encoding_is_guessed in walk(path, lambda _: False):
        refuse_name(path.name, name)
        if not name.endswith("/"):
            if (plain := _normal(name)) in seen:
                raise DarkroomError(
                    f"{path.name} contains {naming.shown(name)} twice, perhaps because it was updated: create it again"
                )
            seen.add(plain)
        found.append(name)
        guessed += [name] * encoding_is_guessed
    if not guessed:
        return Listing(found, [])
    names = naming.count(len(guessed), "name")
    warning = (
        f"{path.name} does not define the encoding of {names}, such as {guessed[0]!r}: if that looks "
        "wrong, create the archive again with a program that writes UTF-8, such as 7-Zip"
    )
    return Listing(found, [warning])


def _normal(name: str) -> str:
    """Return the name of a file without what has no effect, as in ./cats//1.jpg."""
    return str(PurePosixPath(name)) if "//" in name or "./" in name or name.endswith(("/", "/.")) else name


def read(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes | str]]:
    """Yield (name, bytes) for each wanted member, in stored order.

    A member that is too large, or is damaged while the zip archive is intact, has the reason instead of its bytes.
    """
    for name, data, _ in walk(path, wanted.__contains__):
        if data is not None:
            yield name, data


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yield every member of the archive in stored order, with its content if its name is `wanted`.

    Raises DarkroomError as `names` does, possibly only at the end, where damage may be detected late.
    """
    if not is_archive(path):
        raise DarkroomError(f"{path.name} is not a supported archive: use one of {', '.join(SUFFIXES)}")
    reader = zips if path.name.lower().endswith(".zip") else tars
    try:
        yield from reader.walk(path, wanted)
    except DAMAGED as error:
        raise _damaged(path, error) from None
    except OSError as error:
        # Decompressors raise some without a number; a damaged zip may point to an offset before the start of the file.
        if error.errno in (None, errno.EINVAL):
            raise _damaged(path, error) from None
        raise DarkroomError(f"{path} cannot be read ({error.strerror}): check its permissions and the disk") from None


def _damaged(path: Path, error: Exception) -> DarkroomError:
    return DarkroomError(f"{path.name} is damaged or truncated ({error}): download or create it again")


def refuse_name(title: str, name: str) -> None:
    """Raise DarkroomError for a name that is not text or leads out of the archive; `title` is used in messages."""
    if name.isprintable() and not _UNSAFE.search(name):
        return  # most names; building a path for each would take most of the time
    if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DarkroomError(
            f"{title} contains '{naming.shown(name)}', a name that is not UTF-8: rename it and create the archive again"
        )
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts and pure.parts[0].endswith(":")):
        raise DarkroomError(
            f"{title} contains '{naming.shown(name)}', a path that leads out of the archive: create it again from the "
            "folder itself"
        )
