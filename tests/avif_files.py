"""AVIF files of headers alone, which declare whatever a test wants."""

import struct


def avif_header(
    size: tuple[int, int], coded: tuple[int, int] | None = None, bits: int = 16, reduced: bool = True
) -> bytes:
    """Return an AVIF file that declares an image of `size` with AV1 frames of the size `coded`, and has no pixels.

    bits: in which each side of a frame is stored. reduced: whether the sequence header is that of a still image.
    """
    width, height = coded or size
    data = sequence_header(width, height, bits, reduced)
    location = lambda place: _full(b"iloc", struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, place, len(data)))  # noqa: E731
    properties = _box(b"ispe", struct.pack(">III", 0, *size)) + _box(b"av1C", b"\x81\x1f\0\0")
    properties += _box(b"pixi", b"\0\0\0\0\3\x08\x08\x08")
    head = _box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")

    def meta(place: int) -> bytes:
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + _full(b"pitm", b"\0\1")
            + location(place)
            + _full(b"iinf", b"\0\1" + _box(b"infe", b"\2\0\0\0\0\1\0\0av01\0"))
            + _box(b"iprp", _box(b"ipco", properties) + _full(b"ipma", struct.pack(">IHB", 1, 1, 3) + b"\1\x82\3")),
        )

    return head + meta(len(head + meta(0)) + 8) + _box(b"mdat", data)


def sequence_header(width: int, height: int, bits: int, reduced: bool) -> bytes:
    """Return an AV1 unit with a sequence header (AV1 specification, 5.5.1)."""
    fields = f"{0:03b}{1:b}{reduced:b}" + ("00000" if reduced else f"{0:02b}{0:05b}{0:012b}{0:05b}")
    fields += f"{bits - 1:04b}{bits - 1:04b}{width - 1:0{bits}b}{height - 1:0{bits}b}" + "0" * 40
    payload = int(fields[: len(fields) // 8 * 8], 2).to_bytes(len(fields) // 8, "big")
    return bytes([1 << 3 | 2, len(payload)]) + payload


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full(kind: bytes, content: bytes) -> bytes:
    return _box(kind, bytes(4) + content)
