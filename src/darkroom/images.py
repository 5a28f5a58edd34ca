"""Bytes to pixels: the only code that decodes a picture, for training and for the service alike.

A picture becomes upright (EXIF), sRGB (embedded profile), opaque (alpha over white), is cropped to its central
square and resized. Whoever needs pixels calls `decode`, so a model sees in service what it saw in training.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from darkroom.errors import DarkroomError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, in pixels: above any camera, and at most 400 MB while it is open."""


class ImageError(DarkroomError):
    """A picture that cannot be read; the message says why, and is safe to show to who sent it."""


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels, and its size as it was stored (upright, in pixels)."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Return the picture in `data` as an upright uint8 RGB square of shape (size, size, 3), values 0 to 255.

    The central square is cut out and resized with Pillow's antialiased bicubic filter. Of an animation the
    first frame counts.

    Raises ImageError when `data` is no picture of `FORMATS`, is damaged or cut short, or has more than
    `max_pixels` pixels.
    """
    image = _open(data, max_pixels)
    square = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return Decoded(np.asarray(square, dtype=np.uint8), image.width, image.height)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Return the picture upright, in sRGB and opaque, at its own size."""
    if not data:
        raise ImageError("the file is empty")
    try:
        # Pillow warns about odd metadata and large pictures; the first does not matter here, the second is
        # checked below against our own limit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(
                        f"{image.width} × {image.height} is more than the {max_pixels:,} pixels allowed: "
                        "make the picture smaller"
                    )
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"more than the {max_pixels:,} pixels allowed: make the picture smaller") from None
    except UnidentifiedImageError:
        raise ImageError(f"not a picture that can be read ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes; all of it means the same
        raise ImageError(f"damaged picture ({str(error) or type(error).__name__})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # 16 bits a pixel: scale to 8, where convert() would clip
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1.0
        image = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
    image = _to_srgb(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Bring an embedded colour profile to sRGB; a broken or foreign one is passed over."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return converted or image
