"""Figures of several images with captions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from darkroom import plotting
from darkroom.evaluation.failures.mistakes import Disagreement

WIDTH = 7.2
"""Width of a page in inches."""
COLUMNS = 6
LETTERS = 17
"""Letters of average width that fit below an image."""
LINE = 0.16
"""Line spacing of captions in inches."""

Images = npt.NDArray[np.uint8]


def captioned(images: Sequence[Images], captions: Sequence[Sequence[str]], columns: int = COLUMNS) -> Figure:
    """Draw images, up to `columns` per row, each above its caption.

    images: uint8, shape (S, S, 3) each; captions: as many, each a sequence of lines of up to `LETTERS` letters.
    """
    lines = max(map(len, captions))
    cell = WIDTH / columns
    columns = min(columns, max(2, len(images)))
    width = columns * cell
    gap = 0.06 * cell
    height = cell - gap + lines * LINE + 0.1
    rows = -(-len(images) // columns)
    with plotting.inches(width, rows * height) as (drawing, axes):
        for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
            left, top = place % columns * cell + gap / 2, place // columns * height
            plotting.place(axes, image, left, top, cell - gap)
            for number, line in enumerate(caption):
                axes.text(
                    left + (cell - gap) / 2,
                    top + cell - gap + 0.05 + number * LINE,
                    line,
                    ha="center",
                    va="top",
                    fontsize=7.5,
                    color=plotting.INK if number == 0 else plotting.MUTED,
                )
    return drawing


def disagreements(images: Images, found: Sequence[Disagreement], most: int = 24) -> Figure | None:
    """Draw the first `most` images on which candidate and label disagree; None if there are none.

    Captions give predicted class and label with their probabilities. images: the packed ones, shape (N, S, S, 3).
    """
    shown = found[:most]
    if not shown:
        return None
    captions = [
        (
            f"{fit(each.predicted, 5)} {percent(each.predicted_probability)}",
            f"not {fit(each.label, 9)} {percent(each.label_probability)}",
        )
        for each in shown
    ]
    return captioned([np.asarray(images[each.row]) for each in shown], captions)


def fit(name: str, taken: int = 0) -> str:
    """Shorten a class name to fit into a line of a caption beside `taken` other letters."""
    return plotting.shorten(name, LETTERS - taken)


def percent(probability: float) -> str:
    """Return a probability as "98%"; only exact values are shown as 0% or 100%."""
    whole = round(probability * 100)
    if whole == 100 and probability < 1:
        return ">99%"
    return "<1%" if whole == 0 and probability > 0 else f"{whole}%"
