"""Occlusion maps: how the odds of a class change when parts of an image are hidden, one at a time.

The method is from Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, 2014, section 4.2). It needs
no gradients, only predictions, so it works on the exported model that is served.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from darkroom import candidate
from darkroom.predictor import Predictor

FLAT = 0.1
"""Change of the log-odds (about 10% of the odds) below which a map does not reach its full colours."""
LETTERS = 5
"""Smallest size in pixels of letters that can be read."""
FALLS, RISES = (213, 94, 0), (0, 114, 178)
"""Orange and blue, a colour-blind-safe pair."""


@dataclass(frozen=True)
class Occlusion:
    """The effect of hiding parts of an image on the prediction."""

    heat: npt.NDArray[np.float32]
    """Decrease of the log-odds of the class, shape (S, S): positive for evidence for the class, negative for evidence
    against it. Unlike the odds, the probability of a confident model hardly changes."""
    strongest: float
    """Largest change of the probability, 0 to 1."""


def occlusion(predictor: Predictor, image: npt.NDArray[np.uint8], target: int, grid: int = 8) -> Occlusion:
    """Return the effect on class `target` of hiding parts of `image`, one at a time.

    image: uint8, shape (S, S, 3). A soft patch of the mean colour of the image, which adds no edges, is placed at
    `grid` × `grid` positions; between them, the map is interpolated. Takes grid² + 1 predictions.
    """
    masks = _patches(len(image), grid)
    difference = image.mean(axis=(0, 1), dtype=np.float32) - image
    parts = [predictor.logits(image[np.newaxis])]
    for part in candidate.parts(len(masks), predictor.card.side):  # all of them at 224 pixels would take 190 MB
        hidden = image + masks[part, ..., np.newaxis] * difference
        parts.append(predictor.logits(np.rint(hidden).astype(np.uint8)))
    probabilities = candidate.softmax(np.concatenate(parts), predictor.card.temperature)
    # 1 - probability would lose precision for a confident model.
    others = np.delete(probabilities, target, axis=1).sum(axis=1)
    tiny = np.finfo(np.float64).tiny
    odds = np.log(probabilities[:, target].clip(tiny)) - np.log(others.clip(tiny))
    falls = (odds[0] - odds[1:]).astype(np.float32)
    heat: npt.NDArray[np.float32] = np.tensordot(falls, masks, axes=1) / masks.sum(axis=0)
    return Occlusion(heat, float(np.abs(probabilities[0, target] - probabilities[1:, target]).max()))


def enlarge(heat: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize `heat`, shape (H, W), to an image of `size` pixels, which is (width, height)."""
    return np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def with_scale(overlaid: npt.NDArray[np.uint8], strongest: float) -> Image.Image:
    """Return an overlay, shape (H, W, 3), above its colour scale, which ends at log-odds of ±`strongest`.

    A narrow one has small letters on its scale, or none that could not be read.
    """
    width = overlaid.shape[1]
    height = max(16, width // 12)
    full = max(strongest, FLAT)
    bar = np.broadcast_to(np.linspace(-full, full, width, dtype=np.float32), (height, width))
    white = np.full((height, width, 3), 255, np.uint8)
    image = Image.fromarray(np.concatenate([overlaid, overlay(white, bar)]))
    letters = min(height * 0.6, width / 20)
    if letters < LETTERS:
        return image
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(letters)
    factor = f"{np.exp(full):.1f}" if full < np.log(10) else f"{np.exp(min(full, 20)):,.0f}"
    middle = len(overlaid) + height / 2
    # Pillow's default font has no multiplication or division signs.
    draw.text((3, middle), f"odds {factor}x higher", "black", font, "lm")
    draw.text((width - 3, middle), f"odds {factor}x lower", "black", font, "rm")
    return image


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the image in pale grey under its map, uint8, shape (H, W, 3): orange supports the class, blue opposes it.

    image: uint8, shape (H, W, 3); heat: float, shape (H, W), as in `Occlusion`. The strongest position has full
    colour, unless its change is below `FLAT`.
    """
    grey = image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    pale = np.repeat(64 + 0.75 * grey[..., np.newaxis], 3, axis=2)
    strength = (np.abs(heat) / max(float(np.abs(heat).max()), FLAT))[..., np.newaxis]
    colour = np.where(heat[..., np.newaxis] > 0, np.array(FALLS), np.array(RISES))
    mixed: npt.NDArray[np.uint8] = np.rint(pale + 0.75 * strength * (colour - pale)).astype(np.uint8)
    return mixed


def _patches(side: int, grid: int) -> npt.NDArray[np.float32]:
    """Return the opacity of each patch at each pixel, 0 to 1, shape (grid², side, side): round with soft edges."""
    step = side / grid
    centres = (np.arange(grid) + 0.5) * step - 0.5
    distance = (np.arange(side) - centres[:, np.newaxis]) / step
    one_way = np.exp(-0.5 * distance**2).astype(np.float32)
    patches: npt.NDArray[np.float32] = np.einsum("iy,jx->ijyx", one_way, one_way).reshape(grid * grid, side, side)
    np.minimum(1.0, 1.25 * patches, out=patches)
    return patches  # fully opaque in an area around the centre, not only at one point
