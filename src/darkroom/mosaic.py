"""Images side by side on one white canvas."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


def mosaic(rows: Sequence[Images], height: int, width: int, gap: int, border: int = 0) -> Images:
    """Return rows of images as one, on `height` × `width` cells, uint8, shape (pixels, pixels, 3).

    rows: up to `height`, uint8, shape (N, S, S, 3) each, N at most `width`. `gap` pixels follow each image, `border`
    pixels come before the first of each row and column, and cells without an image are white.
    """
    side = next(images.shape[1] for images in rows if len(images))
    step = side + gap
    canvas = np.full((height * step + border, width * step + border, 3), 255, dtype=np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = border + row * step, border + column * step
            canvas[top : top + side, left : left + side] = image
    return canvas
