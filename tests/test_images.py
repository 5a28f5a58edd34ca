import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from darkroom import images
from tests.pictures import encode, pixels

PHOTO = Image.fromarray(pixels(1, 40, 30))


def close(left: np.ndarray, right: np.ndarray, within: int) -> bool:
    return int(np.abs(left.astype(int) - right.astype(int)).max()) <= within


@pytest.mark.parametrize(
    ("data", "within"),
    [
        (encode(PHOTO), 0),
        (encode(PHOTO, "BMP"), 0),
        (encode(PHOTO, "TIFF"), 0),
        (encode(PHOTO, "WEBP", lossless=True), 0),
        (encode(PHOTO, "JPEG", quality=98), 8),
        (encode(PHOTO, "JPEG", quality=98, progressive=True), 8),
        (encode(PHOTO.convert("CMYK"), "TIFF"), 2),
        (encode(PHOTO.convert("RGBA")), 0),
        (encode(PHOTO.quantize(256)), 12),
        (encode(PHOTO.quantize(256), "GIF"), 12),
    ],
    ids=["png", "bmp", "tiff", "webp", "jpeg", "progressive", "cmyk", "rgba", "palette", "gif"],
)
def test_every_format_gives_the_same_picture(data, within):
    expected = images.decode(encode(PHOTO), 16).pixels
    decoded = images.decode(data, 16)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (16, 16, 3)
    assert (decoded.width, decoded.height) == (40, 30)
    assert close(decoded.pixels, expected, within)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    turned = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    stored = PHOTO
    for operation in turned:
        stored = stored.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = images.decode(encode(stored, "PNG", exif=exif), 16)
    assert (decoded.width, decoded.height) == (40, 30)
    assert np.array_equal(decoded.pixels, images.decode(encode(PHOTO), 16).pixels)


def test_the_central_square_is_kept():
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    assert (images.decode(encode(wide), 10).pixels == 255).all()


def test_alpha_lies_over_white():
    clear = np.zeros((9, 9, 4), dtype=np.uint8)
    assert (images.decode(encode(Image.fromarray(clear)), 8).pixels == 255).all()
    palette = Image.new("P", (9, 9))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert (images.decode(encode(palette, transparency=0), 8).pixels == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(64, 0)
    decoded = images.decode(encode(Image.fromarray(ramp), kind), 64).pixels
    assert close(decoded[0, :, 0], (ramp[0] >> 8).astype(np.uint8), 1)


def test_of_an_animation_the_first_frame_counts():
    black, white = Image.new("RGB", (9, 9), "black"), Image.new("RGB", (9, 9), "white")
    data = encode(black, "GIF", save_all=True, append_images=[white])
    assert (images.decode(data, 8).pixels == 0).all()


def test_an_srgb_profile_changes_next_to_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = images.decode(encode(PHOTO, icc_profile=profile), 16).pixels
    assert close(with_profile, images.decode(encode(PHOTO), 16).pixels, 2)


def test_a_broken_profile_is_passed_over():
    data = encode(PHOTO, icc_profile=b"not a profile")
    assert np.array_equal(images.decode(data, 16).pixels, images.decode(encode(PHOTO), 16).pixels)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a picture that can be read"),
        (b"%PDF-1.4", "not a picture that can be read"),
        (encode(PHOTO)[:-60], "damaged picture"),
        (encode(PHOTO, "JPEG")[:200], "damaged picture|not a picture"),
        (png_header(100_000, 100_000), "more than the 100,000,000 pixels allowed: make the picture smaller"),
        (png_header(20_000, 6_000), "20000 × 6000 is more than the 100,000,000 pixels allowed"),
    ],
)
def test_a_bad_picture_is_one_plain_message(data, message):
    with pytest.raises(images.ImageError, match=message):
        images.decode(data, 8)


def test_the_pixel_limit_can_be_lower():
    with pytest.raises(images.ImageError, match="40 × 30 is more than the 1,199 pixels allowed"):
        images.decode(encode(PHOTO), 8, max_pixels=1199)
    images.decode(encode(PHOTO), 8, max_pixels=1200)


SEEDS = [encode(PHOTO, kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.data())
def test_any_bytes_give_a_picture_or_our_error(seed, changes, data):
    mutated = bytearray(seed[: data.draw(st.integers(0, len(seed)))] if data.draw(st.booleans()) else seed)
    for place, value in changes:
        if mutated:
            mutated[place % len(mutated)] = value
    try:
        decoded = images.decode(bytes(mutated), 8, max_pixels=1_000_000)
    except images.ImageError:
        return
    assert decoded.pixels.shape == (8, 8, 3)
    assert decoded.pixels.dtype == np.uint8


def test_nothing_else_is_opened():
    """A format outside the list is refused even where Pillow could read it."""
    buffer = io.BytesIO()
    PHOTO.save(buffer, "PPM")
    with pytest.raises(images.ImageError, match="not a picture that can be read"):
        images.decode(buffer.getvalue(), 8)
