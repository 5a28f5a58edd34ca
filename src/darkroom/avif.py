"""Memory that decoding an AVIF file needs, determined from its boxes and AV1 headers before it is decoded.

Pillow reports the size that a file declares (`ispe`), but allocates memory for the size in the AV1 data: a file of 2 KB
can declare 8 × 8 pixels and need gigabytes. References: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items), AV1
specification, section 5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import AvifImagePlugin

MOST_PARTS = 10_000
"""Largest number of items, extents and AV1 units in a file; a grid of 256 tiles has about 1,500."""
_HEADER = 512
"""Bytes of a sequence header that are read; in the longest, the frame size ends after about 350."""


class AvifError(ValueError):
    """The headers are damaged, or no encoder writes such values."""


@dataclass(frozen=True)
class Frames:
    """The AV1 frames in an AVIF file."""

    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels of each frame, alpha and thumbnails included."""
    pixels: int
    """Upper bound of the pixels of all frames together."""
    tiled: bool
    """Whether the image is composed of several frames."""


def is_avif(data: bytes) -> bool:
    """Return whether a file has the brands of AVIF."""
    return not {b"avif", b"avis"}.isdisjoint(brands(data))


def brands(data: bytes) -> list[bytes]:
    """Return the major and compatible brands of an ISO base media file; an empty list for other files."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), 1000)
    return [data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))]


def still(data: bytes) -> bytes:
    """Return an AVIF file with its brand changed to that of a still image.

    Pillow then opens the primary image of an animation without reading its tables of frames. From now on Pillow uses
    one thread per AVIF image, because as many images are decoded at once as there are cores.
    """
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return data[:8] + b"avif" + data[12:]


def frames(data: bytes) -> Frames:
    """Return the frames of the items in an AVIF file. Raises AvifError when its headers are damaged."""
    view = memoryview(data)
    meta = dict(_boxes(_box(dict(_boxes(view)), b"meta")[4:]))
    kinds = _item_kinds(_box(meta, b"iinf"))
    budget = _Budget()
    sizes, pixels = [], 0
    for item, content in _items(_box(meta, b"iloc"), view, meta.get(b"idat", view[:0]), budget):
        if kinds.get(item) == b"av01":
            for size, most in _sequences(content, budget):
                sizes.append(size)
                pixels += most
    return Frames(tuple(sizes), pixels, tiled=b"grid" in kinds.values())


class _Budget:
    """The number of parts of a file that may still be read, so that no file takes seconds."""

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise AvifError("too many parts")


class _Bits:
    """Reads numbers from bytes, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise AvifError("a header is truncated")
        return self._value >> self._left & ((1 << count) - 1)


def _boxes(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and content of the boxes in `view`."""
    place = 0
    while place + 8 <= len(view):
        size, head = int.from_bytes(view[place : place + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(view[place + 8 : place + 16], "big"), 16
        size = size or len(view) - place
        if size < head:
            raise AvifError("a box is too small")
        yield bytes(view[place + 4 : place + 8]), view[place + head : place + size]
        place += size


def _box(boxes: dict[bytes, memoryview], kind: bytes) -> memoryview:
    if kind not in boxes:
        raise AvifError(f"no {kind.decode()} box")
    return boxes[kind]


def _item_kinds(iinf: memoryview) -> dict[int, bytes]:
    """Return the type of each item, such as av01, grid or Exif."""
    kinds = {}
    for kind, content in _boxes(iinf[6 if iinf[:1].tobytes() == b"\0" else 8 :]):
        if kind == b"infe":
            after = 6 if content[:1].tobytes() == b"\2" else 8
            kinds[int.from_bytes(content[4:after], "big")] = bytes(content[after + 2 : after + 6])
    return kinds


def _items(
    iloc: memoryview, file: memoryview, idat: memoryview, budget: _Budget
) -> Iterator[tuple[int, bytes | memoryview]]:
    """Yield number and content of each item."""
    reader = _Bytes(iloc)
    version = reader.take(4) >> 24
    sizes = reader.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    total = 0
    for _ in range(reader.take(wide)):
        budget.spend()
        item = reader.take(wide)
        source = idat if version and reader.take(2) & 15 == 1 else file
        reader.take(2)
        base = reader.take(base_size)
        parts = []
        for _ in range(reader.take(2)):
            budget.spend()
            if version:
                reader.take(index_size)
            start = base + reader.take(offset_size)
            parts.append(source[start : start + (reader.take(length_size) or len(source))])
        total += sum(map(len, parts))
        if total > 4 * len(file):
            raise AvifError("its items overlap")
        yield item, parts[0] if len(parts) == 1 else b"".join(parts)


class _Bytes:
    """Reads big-endian integers."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._place = view, 0

    def take(self, count: int) -> int:
        self._place += count
        if self._place > len(self._view):
            raise AvifError("a table is truncated")
        return int.from_bytes(self._view[self._place - count : self._place], "big")


def _sequences(content: bytes | memoryview, budget: _Budget) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the frame size and the largest possible number of pixels per frame of each AV1 sequence header."""
    place = 0
    while place < len(content):
        budget.spend()
        head, place = content[place], place + 1
        place += head >> 2 & 1  # extension byte
        size = len(content) - place
        if head & 2:
            size, place = _leb128(content, place)
        if size > len(content) - place:
            raise AvifError("its AV1 data is cut short")
        if head >> 3 & 15 == 1:
            yield _sequence(_Bits(bytes(content[place : place + min(size, _HEADER)])))
        place += size


def _leb128(content: bytes | memoryview, place: int) -> tuple[int, int]:
    """Return a LEB128 number and the offset after it."""
    value = 0
    for count, byte in enumerate(content[place : place + 8]):
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, place + count + 1
    raise AvifError("its AV1 data is cut short")


def _sequence(bits: _Bits) -> tuple[tuple[int, int], int]:
    """Return the frame size and the largest possible number of pixels per frame (AV1 specification, 5.5.1)."""
    bits.take(4)
    if reduced := bits.take(1):
        bits.take(5)
    else:
        _pass_over_timing(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(across) + 1, bits.take(down) + 1
    # Except with the reduced header of a still image, a frame can override its size within the same number of bits.
    return (width, height), width * height if reduced else 1 << across + down


def _pass_over_timing(bits: _Bits) -> None:
    """Skip timing information and operating points."""
    delay = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(zeros)
        if bits.take(1):
            delay = bits.take(5) + 1
            bits.take(42)
    displays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if displays and bits.take(1):
            bits.take(4)
