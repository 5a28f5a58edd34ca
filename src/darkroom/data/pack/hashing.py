"""A perceptual hash, which is similar for near copies of an image."""

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE, LOW = 32, 8
_FREQUENCIES = 2 * np.cos(np.pi / (2 * SIDE) * np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1))
"""The lowest rows of the discrete cosine transform (type II), shape (LOW, SIDE)."""


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the 64-bit hash of uint8 RGB pixels, shape (H, W, 3), as 16 hexadecimal digits.

    One bit for each of the 8×8 lowest frequencies of the grey 32×32 image: set if it is above their median (Christoph
    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1). The result equals
    that of imagehash's `phash`, but takes half the time, and importing imagehash and SciPy would take a third of a
    second in each process. Frequencies are rounded, so that those that are zero except for rounding errors are equal on
    every machine.
    """
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    values = np.round(_FREQUENCIES @ np.asarray(grey, dtype=np.float64) @ _FREQUENCIES.T, 6)
    median = np.sort(values, axis=None)[LOW * LOW // 2 - 1 : LOW * LOW // 2 + 1].mean()  # np.median takes 20 µs more
    return np.packbits(values > median).tobytes().hex()
