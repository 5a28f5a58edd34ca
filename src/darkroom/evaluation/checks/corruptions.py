"""Seven common image corruptions at three strengths.

After Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
(2019), with strengths between theirs for 32 and for 224 pixels. Lengths are relative to the side, so that a
strength looks the same at every size. Rotation is an addition, for cameras that are not held level.
"""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate

STRENGTHS = 3

Images = npt.NDArray[np.uint8]
Corruption = Callable[[Images, int, np.random.Generator], Images]


def noise(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Add Gaussian noise to each pixel value."""
    spread = (0.04, 0.08, 0.16)[strength - 1] * 255
    return _to_uint8(images + spread * random.standard_normal(images.shape, dtype=np.float32))


def blur(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Blur with a Gaussian kernel."""
    sigma = (0.015, 0.03, 0.045)[strength - 1] * images.shape[1]
    return _to_uint8(gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)))


def brightness(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Brighten or darken each image at random."""
    change = (0.1, 0.2, 0.3)[strength - 1] * 255
    return _to_uint8(images + np.float32(change) * _signs(images, random))


def contrast(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Move each pixel value towards the mean of the image."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return _to_uint8(mean + np.float32((0.6, 0.4, 0.2)[strength - 1]) * (images - mean))


def jpeg(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Compress as JPEG at low quality."""
    quality = (60, 30, 10)[strength - 1]
    return np.stack([_compress(image, quality) for image in images])


def pixelation(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Reduce the resolution and enlarge the image again."""
    side = images.shape[1]
    fewer = max(1, round((0.75, 0.5, 0.33)[strength - 1] * side))
    small = [Image.fromarray(image).resize((fewer, fewer), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image.resize((side, side), Image.Resampling.NEAREST)) for image in small])


def rotation(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Rotate to a random side; the border is reflected."""
    angle = (10.0, 20.0, 30.0)[strength - 1]
    left = _signs(images, random)[:, 0, 0, 0] < 0
    rotated = np.empty_like(images)
    for side, degrees in ((left, -angle), (~left, angle)):
        part = images[side].astype(np.float32)
        rotated[side] = _to_uint8(rotate(part, degrees, axes=(1, 2), reshape=False, order=1, mode="reflect"))
    return rotated


ALL: dict[str, Corruption] = {
    "noise": noise,
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "JPEG": jpeg,
    "pixelation": pixelation,
    "rotation": rotation,
}
"""Each takes uint8 images of shape (N, S, S, 3), a strength from 1 and a generator, and returns as many images."""


def _signs(images: Images, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return -1 or 1 for each image, shape (N, 1, 1, 1)."""
    return random.choice(np.array([-1, 1], dtype=np.float32), (len(images), 1, 1, 1))


def _compress(image: Images, quality: int) -> Images:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"))


def _to_uint8(values: npt.NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
