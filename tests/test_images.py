import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from darkroom import images
from tests.pictures import encode, pixels

PHOTO = Image.fromarray(pixels(1, 40, 30))


def close(left: np.ndarray, right: np.ndarray, within: int) -> bool:
    return int(np.abs(left.astype(int) - right.astype(int)).max()) <= within


def ycck(image: Image.Image) -> bytes:
    """Return a four-channel JPEG as Photoshop writes it: YCbCr of the inverted inks, inverted black, Adobe's mark 2."""
    cyan, magenta, yellow, black = image.convert("CMYK").split()
    lights = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = [ImageOps.invert(channel) for channel in lights]  # Pillow inverts what it writes as CMYK
    data = bytearray(encode(Image.merge("CMYK", (*stored, black)), "JPEG", quality=98))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    return bytes(data)


def png16(values: np.ndarray) -> bytes:
    """Return a 16-bit RGB PNG, which Pillow reads but does not write. values: uint16, shape (H, W, 3)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], rows, depth=16)


def png(width: int, height: int, rows: bytes, depth: int = 8, before: bytes = b"") -> bytes:
    """Return an RGB PNG file with these filtered rows, and the chunks `before` them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff16(values: np.ndarray) -> bytes:
    """Return an uncompressed 16-bit RGB TIFF, which Pillow does not write either."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 200),
        (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 14) + struct.pack("<HHH", 16, 16, 16) + directory
    return head.ljust(200, b"\0") + pixels


GREY = ImageOps.autocontrast(PHOTO.convert("L"))  # from black to white, so that 32 bits say what is white
WIDE = np.asarray(PHOTO, dtype=np.uint16) * 257
CASES = {
    "png": (encode(PHOTO), 0),
    "bmp": (encode(PHOTO, "BMP"), 0),
    "tiff": (encode(PHOTO, "TIFF"), 0),
    "tiff-lzw": (encode(PHOTO, "TIFF", compression="tiff_lzw"), 0),
    "tiff-pages": (encode(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.rotate(180)]), 0),
    "tiff-cmyk": (encode(PHOTO.convert("CMYK"), "TIFF"), 2),
    "tiff-16-bit": (tiff16(WIDE), 0),
    "webp": (encode(PHOTO, "WEBP", lossless=True), 0),
    "webp-frames": (encode(PHOTO, "WEBP", lossless=True, save_all=True, append_images=[PHOTO.rotate(180)]), 0),
    "avif": (encode(PHOTO, "AVIF", quality=100, subsampling="4:4:4"), 4),
    "avif-rgba": (encode(PHOTO.convert("RGBA"), "AVIF", quality=100, subsampling="4:4:4"), 4),
    "avif-frames": (
        encode(PHOTO, "AVIF", quality=100, subsampling="4:4:4", save_all=True, append_images=[PHOTO.rotate(180)]),
        4,
    ),
    "jpeg": (encode(PHOTO, "JPEG", quality=98), 8),
    "jpeg-progressive": (encode(PHOTO, "JPEG", quality=98, progressive=True), 8),
    "jpeg-cmyk": (encode(PHOTO.convert("CMYK"), "JPEG", quality=98), 12),
    "jpeg-ycck": (ycck(PHOTO), 16),
    "png-rgba": (encode(PHOTO.convert("RGBA")), 0),
    "png-16-bit": (png16(WIDE), 0),
    "png-palette": (encode(PHOTO.quantize(256)), 12),
    "gif": (encode(PHOTO.quantize(256), "GIF"), 12),
}


@pytest.mark.parametrize(("data", "within"), CASES.values(), ids=CASES)
def test_every_format_gives_the_same_picture(data, within):
    expected = images.decode(encode(PHOTO), 16).pixels
    decoded = images.decode(data, 16)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (16, 16, 3)
    assert (decoded.width, decoded.height) == (40, 30)
    assert close(decoded.pixels, expected, within)


@pytest.mark.parametrize(
    ("data", "within"),
    [
        (encode(GREY), 0),
        (encode(GREY, "JPEG", quality=98), 4),
        (encode(GREY, "TIFF"), 0),
        (encode(GREY, "BMP"), 0),
        (encode(GREY.convert("LA")), 0),
        (encode(Image.fromarray(np.asarray(GREY, dtype=np.uint16) * 257)), 1),
        (encode(Image.fromarray(np.asarray(GREY, dtype=np.uint16) * 257), "TIFF"), 1),
        (encode(Image.fromarray(np.asarray(GREY, dtype=np.int32) * 257), "TIFF"), 1),
        (encode(Image.fromarray(np.asarray(GREY, dtype=np.float32) / 255), "TIFF"), 1),
    ],
    ids=["png", "jpeg", "tiff", "bmp", "alpha", "png-16", "tiff-16", "tiff-32", "tiff-float"],
)
def test_grey_pictures_of_every_depth_are_the_same_grey(data, within):
    pixels = images.decode(data, 16).pixels
    assert (pixels == pixels[:, :, :1]).all()
    assert close(pixels, images.decode(encode(GREY.convert("RGB")), 16).pixels, within)


def test_one_bit_and_damaged_floats_are_pictures_too():
    checks = Image.fromarray(np.indices((32, 32)).sum(axis=0) % 2 == 0)
    assert close(images.decode(encode(checks, "TIFF", compression="group4"), 8).pixels, np.full((8, 8, 3), 127), 2)
    values = np.full((9, 9), np.nan, dtype=np.float32)
    assert (images.decode(encode(Image.fromarray(values), "TIFF"), 8).pixels == 0).all()


@pytest.mark.parametrize("size", [16, 24, 32, 64])
def test_a_large_jpeg_is_opened_smaller_and_hardly_differs(size):
    photo = Image.fromarray(pixels(7, 403, 305))
    data = encode(photo, "JPEG", quality=95)
    whole = encode(Image.open(io.BytesIO(data)).convert("RGB"))
    difference = images.decode(data, size).pixels.astype(int) - images.decode(whole, size).pixels
    assert 0 < np.abs(difference).mean() < 1.0
    assert np.abs(difference).max() < 12
    assert (images.decode(data, size).width, images.decode(data, size).height) == (403, 305)


@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_is_opened_smaller_is_still_upright_and_in_its_colours(kind, progressive):
    photo = Image.fromarray(pixels(7, 401, 307)).convert(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    data = encode(turned, "JPEG", quality=98, progressive=progressive, exif=exif)
    decoded = images.decode(data, 32)
    expected = images.decode(encode(photo if kind != "CMYK" else photo.convert("RGB")), 32)
    assert (decoded.width, decoded.height) == (401, 307)
    assert close(decoded.pixels, expected.pixels, 14)


def test_the_first_picture_of_a_jpeg_with_several_counts():
    data = encode(PHOTO, "MPO", quality=98, save_all=True, append_images=[PHOTO.rotate(180)])
    assert close(images.decode(data, 16).pixels, images.decode(encode(PHOTO), 16).pixels, 8)


@pytest.mark.shared
def test_photographs_opened_smaller_stay_within_the_stated_tolerance(shared):
    with zipfile.ZipFile(shared / "data" / "animals10-sample.zip") as archive:
        photos = [archive.read(name) for name in archive.namelist() if name.endswith(".jpeg")][::4]
    whole = [encode(Image.open(io.BytesIO(photo)).convert("RGB"), compress_level=1) for photo in photos]
    for size in (32, 64):
        pairs = [
            (images.decode(left, size), images.decode(right, size)) for left, right in zip(photos, whole, strict=True)
        ]
        difference = np.abs(np.array([left.pixels.astype(int) - right.pixels for left, right in pairs]))
        assert difference.mean() < 1.2
        assert np.percentile(difference, 99) <= 7
        assert difference.max() <= 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options", "within"),
    [
        ("PNG", {}, 1),
        ("TIFF", {}, 1),
        ("TIFF", {"compression": "tiff_lzw"}, 1),
        ("WEBP", {"lossless": True}, 1),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 4),
        ("JPEG", {"quality": 98, "subsampling": 0}, 6),
    ],
    ids=["png", "tiff", "tiff-lzw", "webp", "avif", "jpeg"],
)
def test_exif_orientation_is_applied(kind, options, within, orientation):
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
    decoded = images.decode(encode(stored, kind, exif=exif, **options), 16)
    assert (decoded.width, decoded.height) == (40, 30)
    # Pillow resizes along one side first and rounds in between: which one depends on how the picture lies.
    assert close(decoded.pixels, images.decode(encode(PHOTO, kind, **options), 16).pixels, within)


@pytest.mark.parametrize(
    "block",
    [b"", b"nothing", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x0112, 2, 4, b"six")],
    ids=["empty", "text", "cut", "word"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_damaged_exif_block_is_passed_over(kind, block):
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "AVIF":  # libavif demands the first bytes of a block, and Pillow reads it as it writes such a file
        block = b"II*\0" + block.removeprefix(b"II*\0")
        whole = Image.Exif()
        whole[0x010E] = "x" * 50
        data = encode(PHOTO, kind, exif=whole).replace(whole.tobytes()[6:], block.ljust(len(whole.tobytes()) - 6))
        assert b"x" * 50 not in data
    else:
        data = encode(PHOTO, kind, exif=b"Exif\0\0" + block, **options)
    assert np.array_equal(images.decode(data, 16).pixels, images.decode(encode(PHOTO, kind, **options), 16).pixels)


def test_the_central_square_is_kept():
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    assert (images.decode(encode(wide), 10).pixels == 255).all()


def test_alpha_lies_over_white():
    clear = np.zeros((9, 9, 4), dtype=np.uint8)
    assert (images.decode(encode(Image.fromarray(clear)), 8).pixels == 255).all()
    assert (images.decode(encode(Image.fromarray(clear), "WEBP", lossless=True), 8).pixels == 255).all()
    palette = Image.new("P", (9, 9))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert (images.decode(encode(palette, transparency=0), 8).pixels == 255).all()


@pytest.mark.parametrize("alpha", [0, 51, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_half_clear_colours_mix_with_white(mode, alpha):
    picture = Image.new("RGBA", (9, 9), (40, 40, 40, alpha)).convert(mode)
    assert close(images.decode(encode(picture), 8).pixels, np.full((8, 8, 3), round(255 - 215 * alpha / 255)), 1)


def test_a_colour_that_stands_for_clear_becomes_white():
    keyed = Image.new("RGB", (9, 9), (10, 20, 30))
    assert (images.decode(encode(keyed, transparency=(10, 20, 30)), 8).pixels == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(64, 0)
    decoded = images.decode(encode(Image.fromarray(ramp), kind), 64).pixels
    assert close(decoded[0, :, 0], (ramp[0] >> 8).astype(np.uint8), 1)


def test_of_an_animation_the_first_frame_counts():
    black, white = Image.new("RGB", (9, 9), "black"), Image.new("RGB", (9, 9), "white")
    data = encode(black, "GIF", save_all=True, append_images=[white])
    assert (images.decode(data, 8).pixels == 0).all()


def profile(gamma: float = 2.2, swap: bool = False, space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile with sRGB's primaries, red and green swapped on request, and a plain gamma curve.

    A matrix profile of version 2 as ICC.1:2001-04, section 6.3 lays it out; grey has one curve and no matrix.
    """
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    colours = [(28579, 14581, 913), (25241, 46982, 6363), (9377, 3973, 46786)]  # sRGB's, adapted to D50, in 1/65536
    red, green, blue = (colours[place] for place in ((1, 0, 2) if swap else (0, 1, 2)))
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 81
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": white}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, value in ((b"r", red), (b"g", green), (b"b", blue)):
            tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + struct.pack(">3i", *value)
            tags[name + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", 132 + len(table) - 4 + len(body), b"", 0x02400000, b"mntr", space, b"XYZ ",
                       b"", b"acsp")  # fmt: skip
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(68, b"\0") + illuminant + b"\0" * 48 + table + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_profile_is_brought_to_srgb(kind):
    options = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(kind, {})
    red = Image.new("RGB", (9, 9), (200, 0, 0))
    plain = images.decode(encode(red, kind, icc_profile=profile(), **options), 8).pixels
    assert close(plain, np.full((8, 8, 3), (200, 0, 0)), 3)  # sRGB but for its curve, which is nearly this gamma
    swapped = images.decode(encode(red, kind, icc_profile=profile(swap=True), **options), 8).pixels
    assert close(swapped, np.full((8, 8, 3), (0, 200, 0)), 6)


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_linear_profile_makes_the_picture_lighter(space, alpha):
    mode = {b"RGB ": "RGB", b"GRAY": "L"}[space]
    grey = Image.new("L", (9, 9), 55).convert(mode)
    if alpha:
        grey.putalpha(255)
    linear = images.decode(encode(grey, icc_profile=profile(1.0, space=space)), 8).pixels
    assert close(linear, np.full((8, 8, 3), 128), 2)  # a fifth of the light is 128 in sRGB (IEC 61966-2-1)


def test_a_palette_and_sixteen_bits_have_profiles_too():
    palette = Image.new("RGB", (9, 9), (55, 55, 55)).quantize(2)
    assert close(images.decode(encode(palette, icc_profile=profile(1.0)), 8).pixels, np.full((8, 8, 3), 128), 2)
    deep = Image.fromarray(np.full((9, 9), 55 * 257, dtype=np.uint16))
    data = encode(deep, icc_profile=profile(1.0, space=b"GRAY"))
    assert close(images.decode(data, 8).pixels, np.full((8, 8, 3), 128), 2)


def test_an_srgb_profile_changes_next_to_nothing():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = images.decode(encode(PHOTO, icc_profile=srgb), 16).pixels
    assert close(with_profile, images.decode(encode(PHOTO), 16).pixels, 2)


@pytest.mark.parametrize(
    "foreign", [b"not a profile", profile()[:200], profile(space=b"GRAY"), profile(swap=True).ljust(5_000_000, b"\0")]
)
def test_a_broken_or_foreign_profile_is_passed_over(foreign):
    data = encode(PHOTO, "WEBP", lossless=True, icc_profile=foreign)
    assert np.array_equal(images.decode(data, 16).pixels, images.decode(encode(PHOTO), 16).pixels)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a supported image"),
        (b"%PDF-1.4", "not a supported image"),
        (encode(PHOTO)[:-60], "damaged image"),
        (encode(PHOTO, "JPEG")[:200], "damaged image|not a picture"),
        (png(100_000, 100_000, b""), "more than the 100,000,000 pixels allowed: make the image smaller"),
        (png(20_000, 6_000, b""), "20000 × 6000 is more than the 100,000,000 pixels allowed"),
    ],
)
def test_a_bad_picture_is_one_plain_message(data, message):
    with pytest.raises(images.ImageError, match=message):
        images.decode(data, 8)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((b"\0\0\0\x18ftyp" + brand + bytes(100), "HEIC") for brand in (b"heic", b"heix", b"mif1")),
        (b"\0\0\0\x1cftypMiHEaaaamif1heic" + bytes(100), "HEIC"),
        (b"\0\0\1\0\1\0\x10\x10" + bytes(100), "ICO"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "Canon raw"),
        (b"\xff\x0a" + bytes(100), "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000"),
        (b"8BPS\0\x01" + bytes(100), "Photoshop"),
    ],
)
def test_a_known_format_that_is_not_read_is_named_whatever_the_file_is_called(data, kind):
    with pytest.raises(
        images.ImageError, match=f"^{kind} is not supported, regardless of the file name: convert it to JPEG"
    ):
        images.decode(data, 8)


def test_a_preview_is_not_taken_for_the_image():
    """Camera raw files begin as TIFF files do, with a thumbnail (TIFF 6.0, NewSubfileType)."""
    preview = encode(PHOTO, "TIFF", tiffinfo={254: 1})
    with pytest.raises(images.ImageError, match=r"its first page is a preview, .*: convert it to JPEG or PNG"):
        images.decode(preview, 8)
    images.decode(encode(PHOTO, "TIFF", tiffinfo={254: 0}), 8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x1cftypavif" + bytes(100), r"damaged image \(its AVIF header cannot be read\)"),
        (encode(PHOTO, "AVIF")[:-100], "damaged image"),
    ],
)
def test_a_damaged_avif_is_named(data, message):
    with pytest.raises(images.ImageError, match=f"^{message}"):
        images.decode(data, 8)


def test_a_pillow_without_avif_says_so(monkeypatch):
    monkeypatch.setattr(images.features, "check", lambda name: name != "avif")
    with pytest.raises(
        images.ImageError, match="this installation of Pillow does not support AVIF: convert it to JPEG"
    ):
        images.decode(encode(PHOTO, "AVIF"), 8)
    images.decode(encode(PHOTO), 8)


def test_the_pixel_limit_can_be_lower():
    with pytest.raises(images.ImageError, match="40 × 30 is more than the 1,199 pixels allowed"):
        images.decode(encode(PHOTO), 8, max_pixels=1199)
    images.decode(encode(PHOTO), 8, max_pixels=1200)


def test_nothing_else_is_opened():
    """A format outside the list is refused even where Pillow could read it."""
    buffer = io.BytesIO()
    PHOTO.save(buffer, "PPM")
    with pytest.raises(images.ImageError, match="not a supported image"):
        images.decode(buffer.getvalue(), 8)
