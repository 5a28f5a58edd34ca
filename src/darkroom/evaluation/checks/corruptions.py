"""Pictures made worse in seven ways, as cameras, networks and people make them, at three strengths.

After Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
(2019), whose strengths for 32 and for 224 pixels lie around these; lengths are shares of the side, so that a
strength looks alike at every size. Rotation is not theirs: people hold cameras askew.
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
    """Add Gaussian noise to each value."""
    spread = (0.04, 0.08, 0.16)[strength - 1] * 255
    return _whole(images + spread * random.standard_normal(images.shape, dtype=np.float32))


def blur(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Blur with a Gaussian."""
    sigma = (0.015, 0.03, 0.045)[strength - 1] * images.shape[1]
    return _whole(gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)))


def brightness(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Brighten or darken: each image one or the other."""
    change = (0.1, 0.2, 0.3)[strength - 1] * 255
    return _whole(images + np.float32(change) * _signs(images, random))


def contrast(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Bring each value nearer to the image's mean."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return _whole(mean + np.float32((0.6, 0.4, 0.2)[strength - 1]) * (images - mean))


def jpeg(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Store as JPEG of low quality."""
    quality = (60, 30, 10)[strength - 1]
    return np.stack([_stored(image, quality) for image in images])


def pixelation(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Store fewer pixels and enlarge them again."""
    side = images.shape[1]
    fewer = max(1, round((0.75, 0.5, 0.33)[strength - 1] * side))
    pictures = [Image.fromarray(image).resize((fewer, fewer), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(picture.resize((side, side), Image.Resampling.NEAREST)) for picture in pictures])


def rotation(images: Images, strength: int, random: np.random.Generator) -> Images:
    """Turn to either side; the border is reflected."""
    angle = (10.0, 20.0, 30.0)[strength - 1]
    left = _signs(images, random)[:, 0, 0, 0] < 0
    turned = np.empty_like(images)
    for side, degrees in ((left, -angle), (~left, angle)):
        part = images[side].astype(np.float32)
        turned[side] = _whole(rotate(part, degrees, axes=(1, 2), reshape=False, order=1, mode="reflect"))
    return turned


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


def _stored(image: Images, quality: int) -> Images:
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    with Image.open(stored) as picture:
        return np.asarray(picture.convert("RGB"))


def _whole(values: npt.NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
