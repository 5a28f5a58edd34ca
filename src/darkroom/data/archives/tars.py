"""Tar archives, read as a stream.

Python's own stream mode silently stops at a damaged or missing header and never verifies gzip's checksum, so images
could be lost without an error. Here tarfile only parses the headers; decompression, data and the end are checked here.
"""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from darkroom.data.archives import headers, unpacking
from darkroom.data.archives.unpacking import Allowance, Member
from darkroom.foundations.errors import DarkroomError

MAX_HEADER = 64 * 1024
"""Size in bytes of the largest extended header that is read: a path and some attributes."""
PIECE = 64 * 1024
"""Number of bytes to skip at a time."""
OPENERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x5d\x00\x00\x80": lzma.open,
}
"""Decompressors by the first bytes of a file. Each verifies the checksums of its format when read to the end."""
SILENT = (b"V", b"D")
"""Types of GNU tar's headers without a file: a volume label, and the list of a folder in an incremental backup."""
PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED_TYPES = (*PAX_TYPES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_END = bytes(tarfile.BLOCKSIZE)


class _SparseError(Exception):
    """The archive contains a sparse file."""


class _Header(tarfile.TarInfo):
    """A header that rejects sparse files: tarfile trusts their maps, and would fail with a ValueError."""

    def _refuse(self, *_: Any) -> None:
        raise _SparseError

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yield every file and folder in stored order, with the content of those whose name is `wanted`.

    Raises DarkroomError for links, devices and sparse files, and when it is too large when unpacked; tarfile.TarError,
    or what the decompressor raises, when it is damaged, truncated, or continues after its end.
    """
    allowance = Allowance(path)
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
        reader = _Reader(opener(file) if opener else file, allowance, None if opener else path.stat().st_size)
        try:
            yield from _members(path, reader, wanted)
        except _SparseError:
            raise DarkroomError(
                f"{path.name} contains a sparse file: create the archive again without the option --sparse"
            ) from None
        reader.check_end()


def _members(path: Path, reader: "_Reader", wanted: Callable[[str], bool]) -> Iterator[Member]:
    # tarfile reads a header when it opens an archive, so it opens an empty one first.
    tar = tarfile.TarFile(fileobj=io.BytesIO(2 * _END), tarinfo=_Header, encoding="utf-8")
    tar.fileobj = reader
    while True:
        # tarfile takes ten times as long for a plain header, so it reads only the others.
        if (plain := reader.plain()) is not None:
            name, size = plain
            end = reader.tell() + size + -size % headers.BLOCK
            yield _content(name, size, reader, wanted)
            reader.skip(end)
            continue
        tar.offset = reader.tell()
        if (header := tar.next()) is None:
            return
        tar.members = []  # type: ignore[attr-defined]  # not in typeshed; otherwise tarfile keeps every header
        tar.pax_headers = {}  # global headers do not concern images and would accumulate
        reader.spend_member()
        if (member := _member(path, header, reader, wanted)) is not None:
            yield member
        reader.skip(tar.offset)


def _member(path: Path, header: tarfile.TarInfo, reader: "_Reader", wanted: Callable[[str], bool]) -> Member | None:
    if not header.name:
        raise tarfile.ReadError("a header without a name")
    if header.isdir():
        return Member(f"{header.name}/")
    if header.type in SILENT:
        return None
    if header.issym() or header.islnk():
        raise DarkroomError(link_message(path, header.name))
    if not header.isfile():
        raise DarkroomError(f"{path.name} contains {header.name!r}, which is neither a file nor a folder: remove it")
    if header.size < 0:
        raise tarfile.ReadError(f"{header.name} has a negative size")
    reader.seek(header.offset_data)
    return _content(header.name, header.size, reader, wanted)


def _content(name: str, size: int, reader: "_Reader", wanted: Callable[[str], bool]) -> Member:
    """Return the file whose `size` bytes are next, with its content if it is `wanted`."""
    if not wanted(name):
        return Member(name)
    if size > unpacking.MAX_MEMBER:
        return Member(name, unpacking.too_large(size))
    data = reader.take(size)
    if len(data) < size:
        raise tarfile.ReadError("unexpected end of data")
    return Member(name, data)


def link_message(path: Path, name: str) -> str:
    """Return the message for a link in an archive."""
    return f"{path.name} contains the link {name!r}: create the archive again with the files themselves (tar -h)"


class _Reader:
    """The stream from which tarfile reads headers: forwards only, bounded, and remembering the last block.

    size: size in bytes of an uncompressed file, which can be skipped quickly; None for other files.
    """

    def __init__(self, stream: IO[bytes], allowance: Allowance, size: int | None) -> None:
        self._stream, self._allowance, self._size = stream, allowance, size
        self._position = 0
        self._last = b""
        self._ahead = b""  # a block that was read, but not taken
        self._extended = b""  # the type of the header whose content follows, if any

    def tell(self) -> int:
        return self._position

    def plain(self) -> tuple[str, int] | None:
        """Return name and size of the next file and skip its header if that is a plain one, see `headers.read`."""
        block = self._ahead or self._stream.read(headers.BLOCK)
        if (found := headers.read(block)) is None:
            self._ahead = block
            return None
        self._ahead, self._last = b"", block
        self._position += headers.BLOCK
        self._allowance.spend(headers.BLOCK + unpacking.DISK_BLOCK)
        return found

    def spend_member(self) -> None:
        """Count a member whose header tarfile has read."""
        self._allowance.spend(unpacking.DISK_BLOCK)

    def read(self, size: int) -> bytes:
        """Return a header, or the byte before one."""
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self._last = self.take(size)
        if self._extended in PAX_TYPES:
            _check_records(self._last)
        kind = self._last[156:157] if not self._extended else b""
        self._extended = kind if kind in EXTENDED_TYPES else b""
        return self._last

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            data += self._stream.read(size - len(data))
        self._position += len(data)
        self._allowance.spend(len(data))
        return data

    def seek(self, position: int) -> None:
        """Skip to `position`, or to the end if that is earlier."""
        if position < self._position:
            raise tarfile.ReadError("a header that points backwards")
        if self._size is not None:
            self._ahead = b""
            self._position = self._stream.seek(min(position, self._size))
        while self._position < position and self.take(min(PIECE, position - self._position)):
            pass

    def skip(self, position: int) -> None:
        """Skip to `position`. Raises ReadError if the archive ends before it."""
        self.seek(position)
        if self._position < position:
            raise tarfile.ReadError("unexpected end of data")

    def check_end(self) -> None:
        """Raise ReadError unless the last header is the block of zeros that ends an archive, and only zeros follow.

        A decompressor verifies its checksum after its last byte has been read.
        """
        if self._last != _END:
            raise tarfile.ReadError("the end is missing" if len(self._last) < len(_END) else "a header is damaged")
        while piece := self.take(PIECE):
            if piece.count(0) != len(piece):
                raise tarfile.ReadError("there is data after its end")

    def write(self, data: bytes) -> object:
        raise io.UnsupportedOperation("read only")  # tarfile's type for streams asks for the method

    def close(self) -> None:
        pass


def _check_records(data: bytes) -> None:
    """Raise ReadError unless an extended header consists of records such as `22 path=cats/001.png`, padded with zeros.

    There is no checksum for them, and tarfile ignores invalid records, so the file would get another name.
    """
    place, end = 0, len(data.rstrip(b"\0"))
    while place < end or not end:
        length = data[place : place + 8].partition(b" ")[0]
        if not length.isdigit() or not data[place : place + int(length)].endswith(b"\n"):
            raise tarfile.ReadError("a header is damaged")
        place += int(length)
