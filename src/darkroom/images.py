"""Decoding of images: bytes to pixels, for both training and the service.

An image is cropped to its central square if `fit` is crop, resized, rotated according to its EXIF orientation,
converted from its embedded profile to sRGB, composited on white, scaled to 8 bits, and padded if `fit` is pad (see
`framing`). All code calls `decode`, so that a served model receives the same pixels as in training.
"""

import io
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from darkroom import avif, framing
from darkroom.colours import to_rgb, white_of
from darkroom.foundations.errors import DarkroomError
from darkroom.framing import Fit
from darkroom.quiet import silence

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"})
"""Suffixes of files in these formats. The format itself is detected from the content of a file."""
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "Canon raw",
}
"""Names of unsupported formats, by the brand of an ISO base media file."""
UNREAD_FORMATS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "ICO",
    b"<svg": "SVG",
    b"II*\0\x10\0\0\0CR": "Canon raw",
}
"""Names of other unsupported formats, by their first bytes; such files may be called .jpg."""
MAX_PIXELS = 100_000_000
"""Largest number of pixels of an image that is decoded."""
MAX_MEMORY = 900_000_000
"""Largest memory in bytes for decoding one image, as estimated by `_memory`."""
LARGE = 200_000_000
"""Memory in bytes, by the same estimate, above which images are decoded one at a time in this process."""
MAX_SCANNED = 1_500_000_000
"""Largest product of pixels and scans of a JPEG. A progressive image has ten scans; a million are an attack.

At the limit, decoding takes 0.2 s (measured with empty scans). The largest image can have fifteen scans."""
_SUBFILE = 254
"""The TIFF tag whose lowest bit marks a page as a reduced version of another one (TIFF 6.0, NewSubfileType)."""
_SCAN = b"\xff\xda"
"""Marker at the start of a scan, which has at least ten bytes (ITU T.81, B.2.3)."""
KEEP = 1.5
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if the result is at least this many times the target size.

On 320 photographs of about 300 × 225 pixels, the result differs from decoding at full size by 1.0 of 255 on average at
a target of 32 and by 0.8 at 64, by 6 at the 99th percentile and by 30 at most. Bilinear instead of bicubic resizing
would differ by 2.5 and 2.0. A factor of 2 would differ by 0.4, but few images reach it at 64, and packing would take a
third longer."""
GAP = 3.0
"""Other images are first box-filtered to this many times the target size: a difference of 0.02 on average at 64, 7 at
most."""

_large_lock = threading.Lock()
"""Held while a `LARGE` image is decoded, so that several threads need memory for only one such image and small ones."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that each EXIF orientation requires (CIPA DC-008, tag 0x0112)."""


class ImageError(DarkroomError):
    """An image that cannot be read; the message gives the reason, and can be shown to the client."""


class TooManyPixelsError(ImageError):
    """An image with too many pixels, which was not decoded. `pixels` is 0 if their number is unknown."""

    def __init__(self, message: str, pixels: int = 0) -> None:
        super().__init__(message)
        self.pixels = pixels


@dataclass(frozen=True)
class Decoded:
    """The pixels of an image, and its original size in pixels after EXIF rotation."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, size: int, max_pixels: int = MAX_PIXELS, *, fit: Fit = "crop") -> Decoded:
    """Return the image in `data` as an upright uint8 RGB square of shape (size, size, 3), values 0 to 255.

    The central square or, unless `fit` is crop, the whole image is resized with Pillow's antialiased bicubic filter.
    The first frame of an animation or page of a document is used. Needs less than a gigabyte of memory, and emits no
    output and no warnings. Only one image at a time may need more than `LARGE` bytes; other threads wait.

    Raises ImageError when `data` is not an image in one of `FORMATS`, is damaged or truncated, or needs too much
    memory, and its subclass TooManyPixelsError when it has more than `max_pixels` pixels; no other exception.
    """
    if not data:
        raise ImageError("the file is empty")
    silence()
    try:
        with _open(data) as image:
            width, height = image.size
            small, white, orientation = _resized(image, data, size, max_pixels, fit)
        if orientation in _TURNS:
            small = small.transpose(_TURNS[orientation])
            width, height = (height, width) if orientation >= 5 else (width, height)
        pixels = np.asarray(to_rgb(small, white), dtype=np.uint8)
        return Decoded(framing.pad(pixels, size), width, height)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixelsError(f"more than the {max_pixels:,} pixels allowed: make the image smaller") from None
    except UnidentifiedImageError:
        if avif.is_avif(data):
            raise ImageError("damaged image (its AVIF header cannot be read)") from None
        raise ImageError(f"not a supported image ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise almost any exception on damaged bytes
        raise ImageError(f"damaged image ({_plain(error)})") from None


def sides(data: bytes) -> tuple[int, int]:
    """Return the shorter and the longer side in pixels of an image that `decode` can read, from its header."""
    with _open(data) as image:
        return min(image.size), max(image.size)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open an image file without decoding it. Raises ImageError for a known but unsupported format."""
    if kind := _unread_format(data):
        raise ImageError(f"{kind} is not supported, regardless of the file name: convert it to JPEG or PNG")
    if avif.is_avif(data):
        if not features.check("avif"):
            raise ImageError("this installation of Pillow does not support AVIF: convert it to JPEG or PNG")
        data = avif.still(data)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _resized(
    image: ImageFile.ImageFile, data: bytes, size: int, max_pixels: int, fit: Fit
) -> tuple[Image.Image, float, int]:
    """Return the image at its final size, without bars, in its own colours, its white value, and its orientation.

    Colours are converted later: on a small image that is cheap and needs no second copy of a large one.
    """
    if image.width * image.height > max_pixels:
        raise TooManyPixelsError(_too_large(image.size, max_pixels), image.width * image.height)
    # The sides are divided by different factors if stretched: the smaller factor counts.
    across, down = framing.content(*image.size, size, fit).size
    factor = (max if fit == "pad" else min)(image.size) / size
    shrink = next((shrink for shrink in (8, 4, 2) if factor >= shrink * KEEP), 1)
    stored, bands = image.size, len(image.getbands())
    extent: tuple[float, ...] = stored
    if image.format in ("JPEG", "MPO"):  # MPO is a JPEG followed by others, as some cameras write
        area = stored[0] * stored[1]
        if area * len(data) / 10 > MAX_SCANNED and area * data.count(_SCAN) > MAX_SCANNED:
            raise ImageError("it has too many scans: save the image again")
        wanted = (max(1, stored[0] // shrink), max(1, stored[1] // shrink))
        if shrink > 1 and (drafted := image.draft(None, wanted)):
            extent = drafted[1][2:]
    if isinstance(image, TiffImagePlugin.TiffImageFile) and int(image.tag_v2.get(_SUBFILE, 0)) & 1:
        raise ImageError("its first page is a preview, as in a camera's raw files: convert it to JPEG or PNG")
    per_pixel = _memory(image, data, bands, shrink)
    if stored[0] * stored[1] * per_pixel > MAX_MEMORY:
        raise ImageError(_too_large(stored, MAX_MEMORY // per_pixel))
    with _large_lock if stored[0] * stored[1] * per_pixel > LARGE else nullcontext():
        image.load()
        orientation, white = _orientation(image), white_of(image)
        small = _resize(image, extent, (across, down), fit)
        image.close()  # frees its pixels before the next large image is decoded
    return small, white, orientation


def _resize(image: Image.Image, extent: tuple[float, ...], size: tuple[int, int], fit: Fit) -> Image.Image:
    """Return the `extent` of an image, or its central square, resized to `size`, which is (width, height)."""
    smooth = _smooth(image)
    width, height = (min(extent), min(extent)) if fit == "crop" else extent
    left, top = (extent[0] - width) / 2, (extent[1] - height) / 2
    box = (left, top, min(left + width, smooth.width), min(top + height, smooth.height))
    return smooth.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=GAP)


def _memory(image: Image.Image, data: bytes, bands: int, shrink: int) -> int:
    """Return the estimated memory in bytes per pixel while decoding, as measured in tests/test_images_limits.py."""
    match image.format:
        case "JPEG" | "MPO":  # a progressive one has 16-bit coefficients besides the pixels
            return 2 * bands + math.ceil(4 / shrink**2)
        case "WEBP":  # two canvases, a frame and the image
            return 18
        case "TIFF":  # one strip may contain the whole image, with 16 bits per channel
            return 12
        case "AVIF":  # frames of 16-bit channels, without and with film grain; then all pixels twice, 8-bit
            return math.ceil(12 * _coded_pixels(image, data) / (image.width * image.height)) + 2 * bands
    return 9


def _coded_pixels(image: Image.Image, data: bytes) -> int:
    """Return the number of pixels for which an AVIF decoder allocates frames, including alpha and thumbnails.

    Raises ImageError when the declared size differs from that of the frames: a decoder would allocate and scale them.
    """
    try:
        frames = avif.frames(data)
    except avif.AvifError as error:
        raise ImageError(f"damaged image ({error})") from None
    if not frames.tiled and image.size not in frames.sizes:
        raise ImageError("damaged image (its AVIF header declares another size than its pixels have)")
    if frames.pixels * 12 > MAX_MEMORY and frames.pixels > 8 * image.width * image.height:
        raise ImageError(f"its AVIF header allows frames of {frames.pixels:,} pixels: save the image again")
    return frames.pixels


def _unread_format(data: bytes) -> str:
    """Return the name of an unsupported image format from the first bytes of a file, or an empty string."""
    if not avif.is_avif(data):
        for brand in avif.brands(data):
            if brand in BRANDS:
                return BRANDS[brand]
    return next((name for start, name in UNREAD_FORMATS.items() if data.startswith(start)), "")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # almost any exception, as in decode, but the pixels are fine
        return 1


def _smooth(image: Image.Image) -> Image.Image:
    """Return the image in a mode that can be resized: without palette, colour key or single bits."""
    if image.mode.startswith("I;16"):
        return image.convert("I")
    if image.mode == "PA" or (image.mode not in ("I", "F") and "transparency" in image.info):
        return image.convert("RGBA")
    return image.convert({"1": "L", "P": "RGB"}[image.mode]) if image.mode in ("1", "P") else image


def _too_large(size: tuple[int, int], allowed: int) -> str:
    return f"{size[0]} × {size[1]} is more than the {allowed:,} pixels allowed: make the image smaller"


def _plain(error: Exception) -> str:
    """Return an exception's message on one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
