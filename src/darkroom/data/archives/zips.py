"""Zip archives, read through their central directory; members are decompressed up to their declared size."""

import bz2
import copy
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from darkroom.data.archives import unpacking
from darkroom.data.archives.tars import link_message
from darkroom.data.archives.unpacking import Allowance, Member
from darkroom.foundations.errors import DarkroomError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
UNREAD_METHODS = {9: "Deflate64", 93: "Zstandard", 94: "MP3", 95: "XZ", 96: "JPEG", 98: "PPMd"}
"""Names of other compression methods (APPNOTE 4.4.5)."""
MAX_LZMA_MEMORY = 256 * 1024 * 1024
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError)
_END = b"PK\x05\x06"


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yield every file and folder in the order of the directory, with the content of those whose name is `wanted`.

    A member that is damaged or too large has the reason instead of its content.

    Raises DarkroomError for passwords, links, unknown compression methods, and when it is too large when unpacked;
    zipfile's exceptions when it is not a zip archive, is damaged or truncated.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_count(path, len(members))
        declared = Allowance(path)  # declared sizes reveal most bombs before anything is read
        declared.spend(sum(info.file_size for info in members if info.file_size <= unpacking.MAX_MEMBER))
        allowance = Allowance(path)
        for info in members:
            name, is_guessed = _name(info)
            if name.endswith("/"):
                yield Member(name)
                continue
            _refuse(path, info, name)
            yield Member(name, _read(archive, info, allowance) if wanted(name) else None, is_guessed)


def _refuse(path: Path, info: zipfile.ZipInfo, name: str) -> None:
    """Raise DarkroomError for a member because of which the archive must be created again."""
    if info.flag_bits & 0x1:
        raise DarkroomError(f"{path.name} is encrypted: create an archive without a password")
    if info.external_attr >> 16 & 0o170000 == 0o120000:
        raise DarkroomError(link_message(path, name))
    if info.compress_type not in METHODS:
        method = UNREAD_METHODS.get(info.compress_type, f"method {info.compress_type}")
        raise DarkroomError(
            f"{path.name}: {name!r} uses unsupported compression ({method}): create it again with Deflate"
        )


def _name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """Return a member's name, and whether its encoding is only guessed.

    A name without the UTF-8 flag is decoded as UTF-8 if it is valid (as macOS writes it), otherwise with code page 437,
    as zipfile does, although it may be in another one.
    """
    name, is_guessed = info.filename, False
    if not info.flag_bits & 0x800 and not name.isascii():
        try:
            name = name.encode("cp437").decode()
        except UnicodeDecodeError:
            is_guessed = True
    # Some Windows programs use \ as separator, which in East Asian code pages may also be half of a character.
    if "/" not in name or not is_guessed:
        name = name.replace("\\", "/")
    return name, is_guessed


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: Allowance) -> bytes | str:
    """Return a member's content, or the reason why it cannot be read.

    zipfile decompresses everything, whatever size is declared: 45 bytes of bzip2 may contain 46 MB. Therefore only the
    compressed bytes are read with zipfile.
    """
    if max(info.file_size, info.compress_size) > unpacking.MAX_MEMBER:
        return unpacking.too_large(info.file_size)
    stored = copy.copy(info)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    del stored.CRC  # the checksum of the decompressed bytes, so not to be compared here
    try:
        with archive.open(stored) as file:
            compressed = file.read()
        allowance.spend(len(compressed))  # many members may share these bytes
        data = _decompress(info, compressed)
    except DAMAGED as error:
        return f"damaged in the archive ({error})"
    allowance.spend(len(data))
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        return "damaged in the archive (its size or checksum is wrong)"
    return data


def _decompress(info: zipfile.ZipInfo, data: bytes) -> bytes:
    """Return the decompressed `data`, at most one byte more than the member declares."""
    most = info.file_size + 1
    match info.compress_type:
        case zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
        case zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(data, most)
        case zipfile.ZIP_LZMA:
            # Four bytes of zip's own, then the header of an old .lzma file, without the size.
            size = b"\xff" * 8 if info.flag_bits & 0x2 else info.file_size.to_bytes(8, "little")
            alone = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_LZMA_MEMORY)
            return alone.decompress(data[4:9] + size + data[9:], most)
    return data


def _check_count(path: Path, found: int) -> None:
    """Raise BadZipFile when the number of members in the directory differs from the one in the end record.

    zipfile never compares them, and a damaged length could hide members.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 22 - 0xFFFF))  # the last record and the longest possible comment
        tail = file.read()
    place = tail.rfind(_END) + 10
    count = int.from_bytes(tail[place : place + 2], "little")
    if count not in (0xFFFF, found & 0xFFFF):  # 0xFFFF means that it is stored elsewhere
        raise zipfile.BadZipFile(f"{found:,} of {count:,} members are in its directory")
