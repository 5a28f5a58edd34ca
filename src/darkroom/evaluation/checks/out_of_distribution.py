"""Out-of-distribution images, on which a model should not be confident.

Thresholds are fitted with generated images only; the test adds photographs and digits, which no fit has used.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data as skimage_data

COUNT = 64
"""Number of images of each kind."""
PATCHES = 4
"""Patches along each side of a shuffled image."""
PHOTOGRAPHS = ("astronaut", "brick", "camera", "coffee", "coins", "grass", "page", "rocket")
"""Images bundled with scikit-image."""
NUMERALS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}

Images = npt.NDArray[np.uint8]


def generated(images: Images, seed: int, count: int = COUNT) -> dict[str, Images]:
    """Generate images by kind, uint8, shape (count, S, S, 3): noise, plain colours, and images with shuffled patches.

    images: in-distribution images whose patches are shuffled, uint8, shape (N, S, S, 3).
    """
    random = np.random.default_rng(seed)
    side = images.shape[1]
    noise = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    plain = random.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8).repeat(side, axis=1).repeat(side, axis=2)
    picked = images[np.sort(random.choice(len(images), count, replace=len(images) < count))]
    return {"noise": noise, "plain": plain, "shuffled": _shuffle(picked, random)}


def bundled(side: int, classes: Sequence[str], seed: int, count: int = COUNT) -> dict[str, Images]:
    """Return images of other data sets by kind, uint8, shape (count, side, side, 3).

    Photographs are crops of those bundled with scikit-image. Handwritten digits are those of scikit-learn; they are
    omitted if class names suggest digits.
    """
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(getattr(skimage_data, name)()).convert("RGB") for name in PHOTOGRAPHS]
    kinds = {"photographs": [_crop(photographs[place % len(photographs)], random) for place in range(count)]}
    if not any(map(_is_digit, classes)):
        from sklearn.datasets import load_digits  # half a second, saved for classes of digits

        digits = (load_digits().images * (255 / 16)).astype(np.uint8)
        kinds["digits"] = [Image.fromarray(digits[row]) for row in random.choice(len(digits), count, replace=False)]
    return {
        kind: np.stack([np.asarray(image.convert("RGB").resize((side, side))) for image in chosen])
        for kind, chosen in kinds.items()
    }


def _is_digit(name: str) -> bool:
    """Return whether a class name suggests a digit: "7", "digit_7", "07" or "seven"."""
    return name.strip().casefold() in NUMERALS or re.fullmatch(r"\D*0*\d", name.strip()) is not None


def _shuffle(images: Images, random: np.random.Generator) -> Images:
    """Return each image with its patches shuffled; remaining pixels at the right and bottom stay in place."""
    patch = images.shape[1] // PATCHES
    edge = patch * PATCHES
    shuffled = images.copy()
    for image, out in zip(images, shuffled, strict=True):
        patches = image[:edge, :edge].reshape(PATCHES, patch, PATCHES, patch, 3).swapaxes(1, 2)
        mixed = random.permutation(patches.reshape(PATCHES**2, patch, patch, 3))
        out[:edge, :edge] = mixed.reshape(PATCHES, PATCHES, patch, patch, 3).swapaxes(1, 2).reshape(edge, edge, 3)
    return shuffled


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return a random square crop whose side is a third to the whole of the shorter side."""
    shorter = min(image.size)
    side = int(random.integers(shorter // 3, shorter, endpoint=True))
    left, top = (int(random.integers(0, length - side, endpoint=True)) for length in image.size)
    return image.crop((left, top, left + side, top + side))
