"""What an AVIF file will make its decoder allocate, from its headers."""

import struct

import pytest
from PIL import Image

from darkroom import avif
from tests.avif_files import avif_header
from tests.pictures import encode, pixels

PHOTO = Image.fromarray(pixels(1, 40, 30))
CLEAR = PHOTO.copy()
CLEAR.putalpha(100)


@pytest.mark.parametrize(
    ("data", "sizes", "pixels"),
    [
        (encode(PHOTO, "AVIF"), {(40, 30)}, 1200),
        (encode(CLEAR, "AVIF"), {(40, 30)}, 2400),
        (encode(PHOTO, "AVIF", save_all=True, append_images=[PHOTO.rotate(180)]), {(40, 30)}, 2 ** (6 + 5)),
        (avif_header((8, 8), coded=(16_000, 9_000)), {(16_000, 9_000)}, 144_000_000),
        (avif_header((8, 8), bits=16, reduced=False), {(8, 8)}, 2**32),
        (avif_header((8, 8), bits=3, reduced=False), {(8, 8)}, 64),
    ],
    ids=["still", "alpha", "animation", "large", "override", "no override"],
)
def test_frames_are_found(data, sizes, pixels):
    found = avif.frames(data)
    assert (set(found.sizes), found.pixels, found.tiled) == (sizes, pixels, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        avif_header((8, 8))[:60],
        avif_header((8, 8))[:-12],
        avif_header((8, 8)).replace(b"iloc", b"free"),
        avif_header((8, 8)).replace(b"iinf", b"free"),
        # 65,535 extents of no bytes, which take none in the table either
        avif_header((8, 8)).replace(
            struct.pack(">HHHHH", 0x4400, 1, 1, 0, 1), struct.pack(">HHHHH", 0, 1, 1, 0, 65535)
        ),
    ],
)
def test_damaged_headers_are_one_error(data):
    with pytest.raises(avif.AvifError):
        avif.frames(data)


def test_brands_decide():
    assert avif.is_avif(encode(PHOTO, "AVIF"))
    assert avif.is_avif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif")
    assert not avif.is_avif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    assert not avif.is_avif(encode(PHOTO))
