"""Bytes to pixels: the only code that decodes a picture, for training and for the service alike.

A picture is cropped to its central square and resized, and becomes upright (EXIF), sRGB (embedded profile), opaque
(alpha over white) and 8 bits deep. Whoever needs pixels calls `decode`, so a model sees in service what it saw in
training.
"""

import io
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from darkroom import avif
from darkroom.colours import to_rgb, white_of
from darkroom.foundations.errors import DarkroomError
from darkroom.quiet import silence

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"})
"""Suffixes of files in these formats. What a file holds is said by its bytes alone."""
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "Canon raw",
}
"""Brands of files that consist of boxes, by the name of their format."""
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
"""First bytes of other formats that are not read: a person may call such files .jpg."""
MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, in pixels."""
MAX_MEMORY = 900_000_000
"""The most bytes that a picture may take while it is open, by `_memory`'s estimate."""
LARGE = 200_000_000
"""Bytes that a picture may take, by the same estimate, beside others that are open in this process."""
MAX_SCANNED = 1_500_000_000
"""Pixels times passes over them in a JPEG: ten passes make a progressive one, a million a bomb.

At the limit 0.2 s pass (measured with empty passes). The largest picture may have fifteen."""
_SUBFILE = 254
"""The TIFF tag whose lowest bit says that a page is a smaller version of another one (TIFF 6.0, NewSubfileType)."""
_PASS = b"\xff\xda"
"""What begins a pass, at the least ten bytes long (ITU T.81, B.2.3)."""
KEEP = 1.5
"""A JPEG is opened at a half, a quarter or an eighth of its size when that leaves this many times the target.

On 320 photographs of about 300 × 225 the pixels then differ from those of the full size by 1.0 of 255 on average at a
target of 32 and 0.8 at 64, by 6 at the 99th percentile and 30 at most; bilinear instead of bicubic makes 2.5 and 2.0.
Twice the target would make 0.4, but few of them reach it at 64, and packing takes a third longer."""
GAP = 3.0
"""Other pictures are first averaged down to this many times the target: 0.02 on average at 64, 7 at most."""

_alone = threading.Lock()
"""Held while a `LARGE` picture is open: the memory of many threads is then that of one such picture and small ones."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright (CIPA DC-008, tag 0x0112)."""


class ImageError(DarkroomError):
    """A picture that cannot be read; the message says why, and is safe to show to who sent it."""


class TooManyPixelsError(ImageError):
    """A picture of more pixels than were allowed: nothing of it was decoded. `pixels` is 0 where it is not known."""

    def __init__(self, message: str, pixels: int = 0) -> None:
        super().__init__(message)
        self.pixels = pixels


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels, and its size as it was stored (upright, in pixels)."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return the picture in `data` as an upright uint8 RGB square of shape (size, size, 3), values 0 to 255.

    The central square is cut out and resized with Pillow's antialiased bicubic filter. Of an animation or a
    document the first frame or page counts. Takes less than a gigabyte, and prints and warns of nothing. One picture at
    a time may take more than `LARGE` bytes; threads that have another wait.

    Raises ImageError when `data` is no picture of `FORMATS`, is damaged or cut short, or needs too much memory, and
    TooManyPixelsError, which is one, when it has more than `max_pixels` pixels; no other exception.
    """
    if not data:
        raise ImageError("the file is empty")
    silence()
    try:
        with _open(data) as image:
            width, height = image.size
            square, white, orientation = _square(image, data, size, max_pixels)
        if orientation in _TURNS:
            square = square.transpose(_TURNS[orientation])
            width, height = (height, width) if orientation >= 5 else (width, height)
        return Decoded(np.asarray(to_rgb(square, white), dtype=np.uint8), width, height)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixelsError(f"more than the {max_pixels:,} pixels allowed: make the picture smaller") from None
    except UnidentifiedImageError:
        if avif.is_avif(data):
            raise ImageError("damaged picture (its AVIF header cannot be read)") from None
        raise ImageError(f"not a picture that can be read ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes; all of it means the same
        raise ImageError(f"damaged picture ({_plain(error)})") from None


def shorter_side(data: bytes) -> int:
    """Return the shorter side in pixels of a picture that `decode` has read."""
    with _open(data) as image:
        return min(image.size)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open an image file without decoding it. Raises ImageError for a known format that is not read."""
    if kind := _unread_format(data):
        raise ImageError(f"{kind} is not read, whatever the file is called: convert it to JPEG or PNG")
    if avif.is_avif(data):
        if not features.check("avif"):
            raise ImageError("this installation of Pillow does not read AVIF: convert it to JPEG or PNG")
        data = avif.still(data)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _square(image: ImageFile.ImageFile, data: bytes, size: int, max_pixels: int) -> tuple[Image.Image, float, int]:
    """Return the central square at its final size, in the picture's own colours; its white; its EXIF orientation.

    Colours come after: on a small square they cost next to nothing, and no second copy of a large picture is made.
    """
    if image.width * image.height > max_pixels:
        raise TooManyPixelsError(_too_large(image.size, max_pixels), image.width * image.height)
    shrink = next((shrink for shrink in (8, 4, 2) if min(image.size) >= shrink * KEEP * size), 1)
    stored, bands = image.size, len(image.getbands())
    extent: tuple[float, ...] = stored
    if image.format in ("JPEG", "MPO"):  # MPO is a JPEG with others behind it, as some cameras write
        area = stored[0] * stored[1]
        if area * len(data) / 10 > MAX_SCANNED and area * data.count(_PASS) > MAX_SCANNED:
            raise ImageError("too many passes over its pixels: save the picture again")
        if shrink > 1 and (drafted := image.draft(None, (stored[0] // shrink, stored[1] // shrink))):
            extent = drafted[1][2:]
    if isinstance(image, TiffImagePlugin.TiffImageFile) and int(image.tag_v2.get(_SUBFILE, 0)) & 1:
        raise ImageError("its first page is a preview, as in a camera's raw files: convert it to JPEG or PNG")
    per_pixel = _memory(image, data, bands, shrink)
    if stored[0] * stored[1] * per_pixel > MAX_MEMORY:
        raise ImageError(_too_large(stored, MAX_MEMORY // per_pixel))
    with _alone if stored[0] * stored[1] * per_pixel > LARGE else nullcontext():
        image.load()
        orientation, white = _orientation(image), white_of(image)
        square = _cut(image, extent, size)
        image.close()  # its pixels go before the next large picture comes
    return square, white, orientation


def _cut(image: Image.Image, extent: tuple[float, ...], size: int) -> Image.Image:
    """Return the central square of the `extent` of a picture, resized."""
    smooth = _smooth(image)
    side = min(extent)
    left, top = (extent[0] - side) / 2, (extent[1] - side) / 2
    box = (left, top, min(left + side, smooth.width), min(top + side, smooth.height))
    return smooth.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=GAP)


def _memory(image: Image.Image, data: bytes, bands: int, shrink: int) -> int:
    """Return about how many bytes a pixel takes while the picture is open; measured, tests/test_images_limits.py."""
    match image.format:
        case "JPEG" | "MPO":  # a progressive one keeps 16-bit coefficients beside the pixels
            return 2 * bands + math.ceil(4 / shrink**2)
        case "WEBP":  # two canvases, a frame and the picture
            return 18
        case "TIFF":  # one strip may hold it all, with 16 bits a channel
            return 12
        case "AVIF":  # frames of 16-bit channels, without and with film grain; then all pixels twice, 8-bit
            return math.ceil(12 * _coded_pixels(image, data) / (image.width * image.height)) + 2 * bands
    return 9


def _coded_pixels(image: Image.Image, data: bytes) -> int:
    """Return how many pixels an AVIF decoder allocates frames for, alpha and thumbnails included.

    Raises ImageError when the image has another size than its frames: a decoder would allocate these and scale them.
    """
    try:
        frames = avif.frames(data)
    except avif.AvifError as error:
        raise ImageError(f"damaged picture ({error})") from None
    if not frames.tiled and image.size not in frames.sizes:
        raise ImageError("damaged picture (its AVIF header declares another size than its pixels have)")
    if frames.pixels * 12 > MAX_MEMORY and frames.pixels > 8 * image.width * image.height:
        raise ImageError(f"its AVIF header allows frames of {frames.pixels:,} pixels: save the picture again")
    return frames.pixels


def _unread_format(data: bytes) -> str:
    """Return the name of a known image format that is not read here, from the first bytes of a file, or nothing."""
    if not avif.is_avif(data):
        for brand in avif.brands(data):
            if brand in BRANDS:
                return BRANDS[brand]
    return next((name for start, name in UNREAD_FORMATS.items() if data.startswith(start)), "")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or the block is damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # as many kinds as in decode, but the pixels are fine
        return 1


def _smooth(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized: no palette, no colour key, no single bits."""
    if image.mode.startswith("I;16"):
        return image.convert("I")
    if image.mode == "PA" or (image.mode not in ("I", "F") and "transparency" in image.info):
        return image.convert("RGBA")
    return image.convert({"1": "L", "P": "RGB"}[image.mode]) if image.mode in ("1", "P") else image


def _too_large(size: tuple[int, int], allowed: int) -> str:
    return f"{size[0]} × {size[1]} is more than the {allowed:,} pixels allowed: make the picture smaller"


def _plain(error: Exception) -> str:
    """Return an exception's message on one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
