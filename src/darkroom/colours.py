"""Conversion of any colour mode to opaque 8-bit sRGB, the last step of decoding."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 4_000_000
"""Size in bytes of the largest colour profile that is read; profiles for printing have one to three million."""
WHITES = (1.0, 255.0, 65535.0, 2.0**32 - 1)
"""Possible white values of images with 32 bits per pixel, for which there is no convention."""


def white_of(image: Image.Image) -> float:
    """Return the white value of `image`: 65535 for 16 bits; for 32, the smallest of `WHITES` that no pixel exceeds."""
    if image.mode.startswith("I;16"):
        return 65535.0
    if image.mode not in ("I", "F"):
        return 255.0
    top = image.getextrema()[1]
    return next((white for white in WHITES if isinstance(top, float | int) and top <= white), WHITES[-1])


def to_rgb(image: Image.Image, white: float) -> Image.Image:
    """Return `image` as RGB: scaled to 8 bits, converted from its embedded profile to sRGB, composited on white."""
    profile = image.info.get("icc_profile", b"")
    if image.mode in ("I", "F"):  # scaled here: Pillow's own conversion would clip
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        image = Image.fromarray(np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8))
    if image.mode in ("La", "RGBa"):  # premultiplied alpha
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode not in ("LA", "RGBA"):
        return _to_srgb(image, profile).convert("RGB")
    colours = _to_srgb(image.convert("L" if image.mode == "LA" else "RGB"), profile).convert("RGB")
    return Image.composite(colours, Image.new("RGB", image.size, "white"), image.getchannel("A"))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert `image` from an embedded profile to sRGB; a broken profile, or one for another mode, is ignored."""
    if profile and len(profile) <= MAX_PROFILE and (transform := _transform(profile, image.mode)):
        return transform.apply(image)
    return image


@lru_cache(maxsize=8)  # building one takes 2 ms, four times as long as decoding a photograph
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
