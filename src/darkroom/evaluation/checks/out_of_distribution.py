"""Pictures that are none of the classes: what a model should not be sure about.

Thresholds are fitted with the drawn ones alone; photographs and digits, which no fit has seen, join for the test.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data as bundled

COUNT = 64
"""Pictures of each kind."""
PATCHES = 4
"""Patches along each side of a shuffled picture."""
PHOTOGRAPHS = ("astronaut", "brick", "camera", "coffee", "coins", "grass", "page", "rocket")
"""Pictures that come with scikit-image."""
NUMERALS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}

Images = npt.NDArray[np.uint8]


def drawn(images: Images, seed: int, count: int = COUNT) -> dict[str, Images]:
    """Return outsiders by kind, uint8, shape (count, S, S, 3): noise, plain colours, and pictures in shuffled patches.

    images: pictures of the classes to take the patches from, uint8, shape (N, S, S, 3).
    """
    random = np.random.default_rng(seed)
    side = images.shape[1]
    noise = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    plain = random.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8).repeat(side, axis=1).repeat(side, axis=2)
    picked = images[np.sort(random.choice(len(images), count, replace=len(images) < count))]
    return {"noise": noise, "plain": plain, "shuffled": _shuffle(picked, random)}


def elsewhere(side: int, classes: Sequence[str], seed: int, count: int = COUNT) -> dict[str, Images]:
    """Return pictures of other data sets by kind, uint8, shape (count, side, side, 3).

    Photographs are parts of scikit-image's pictures; handwritten digits are scikit-learn's, left out where the
    classes themselves look like digits by name.
    """
    random = np.random.default_rng(seed)
    pictures = [Image.fromarray(getattr(bundled, name)()).convert("RGB") for name in PHOTOGRAPHS]
    kinds = {"photographs": [_part(pictures[place % len(pictures)], random) for place in range(count)]}
    if not any(map(_is_digit, classes)):
        from sklearn.datasets import load_digits  # half a second that digits need not pay

        digits = (load_digits().images * (255 / 16)).astype(np.uint8)
        kinds["digits"] = [Image.fromarray(digits[row]) for row in random.choice(len(digits), count, replace=False)]
    return {
        kind: np.stack([np.asarray(picture.convert("RGB").resize((side, side))) for picture in chosen])
        for kind, chosen in kinds.items()
    }


def _is_digit(name: str) -> bool:
    """Return whether a class is called like a digit: 7, "digit_7", "07" or "seven"."""
    return name.strip().casefold() in NUMERALS or re.fullmatch(r"\D*0*\d", name.strip()) is not None


def _shuffle(images: Images, random: np.random.Generator) -> Images:
    """Return each image with its patches in another order; a rest of pixels at right and bottom stays."""
    patch = images.shape[1] // PATCHES
    edge = patch * PATCHES
    shuffled = images.copy()
    for image, out in zip(images, shuffled, strict=True):
        patches = image[:edge, :edge].reshape(PATCHES, patch, PATCHES, patch, 3).swapaxes(1, 2)
        mixed = random.permutation(patches.reshape(PATCHES**2, patch, patch, 3))
        out[:edge, :edge] = mixed.reshape(PATCHES, PATCHES, patch, patch, 3).swapaxes(1, 2).reshape(edge, edge, 3)
    return shuffled


def _part(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return a random square of a third to the whole of the picture's shorter side."""
    shorter = min(picture.size)
    side = int(random.integers(shorter // 3, shorter, endpoint=True))
    left, top = (int(random.integers(0, length - side, endpoint=True)) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))
