"""Framing: how an image of any proportions becomes a square.

| fit | the square shows | proportions |
|---|---|---|
| crop | the central square; the two ends of the longer side are cut off | kept |
| pad | the whole image, centred between two bars of its mean colour | kept |
| stretch | the whole image | changed |

Square images are the same with all three. `images.decode` applies the framing; packing, the service, `darkroom predict`
and explanations pass on the one that the packed folder or the model's card names.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

if TYPE_CHECKING:  # the stages that only read parameters do without numpy
    import numpy as np
    import numpy.typing as npt

Value = TypeVar("Value", bound="np.generic")
Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)
DEFAULT: Fit = "crop"
"""What packed folders and cards of older versions, which do not name it, were made with."""


class Box(NamedTuple):
    """The part of a square that shows the image, in pixels: left and top inside, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, both at least 1."""
        return self.right - self.left, self.bottom - self.top

    def cut(self, square: "npt.NDArray[Value]") -> "npt.NDArray[Value]":
        """Return this part of an array of shape (S, S, ...), without copying."""
        return square[self.top : self.bottom, self.left : self.right]


def framed(fit: Fit) -> str:
    """Return what happens to images, for reports."""
    return {
        "crop": "cropped to the central square",
        "pad": "padded with the mean colour to a square",
        "stretch": "stretched to a square",
    }[fit]


def read(values: dict[str, Any], where: str) -> Fit:
    """Return the fit that the content of a JSON file names as `fit`, or the default. Raises DarkroomError otherwise.

    where: the file, for the message.
    """
    found = values.get("fit", DEFAULT)
    if found not in FITS:
        raise DarkroomError(
            f"{where}: fit is {naming.shown(str(found))}, and this version has {', '.join(FITS)}: install a newer "
            "version, or run `dvc repro` again"
        )
    fit: Fit = found
    return fit


def content(width: int, height: int, side: int, fit: Fit) -> Box:
    """Return which part of a square of `side` pixels shows an image of `width` × `height`: all of it unless padded."""
    if fit != "pad":
        return Box(0, 0, side, side)
    longer = max(width, height)
    across, down = (max(1, (2 * side * part + longer) // (2 * longer)) for part in (width, height))
    left, top = (side - across) // 2, (side - down) // 2
    return Box(left, top, left + across, top + down)


def pad(pixels: "npt.NDArray[np.uint8]", side: int) -> "npt.NDArray[np.uint8]":
    """Return an image, shape (H, W, 3) with H and W at most `side`, centred on a square of its mean colour.

    The mean colour is neutral: the bars have little contrast with the image, whatever it shows, and to hide a part of a
    bar, as explanations do, changes nothing. Computed from integers, so that it is the same on every machine.
    """
    import numpy as np

    height, width, _ = pixels.shape
    if height == width == side:
        return pixels
    count = height * width
    mean = (2 * pixels.sum(axis=(0, 1), dtype=np.int64) + count) // (2 * count)
    square = np.empty((side, side, 3), dtype=np.uint8)
    square[:] = mean
    left, top = (side - width) // 2, (side - height) // 2
    square[top : top + height, left : left + width] = pixels
    return square
