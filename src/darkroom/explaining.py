"""Which places of a picture an answer rests on: hide one after the other and see how far the odds of its class fall.

The method is Zeiler and Fergus's (Visualizing and Understanding Convolutional Networks, 2014, section 4.2). It asks
the very model that is served, needs no gradients, and so says the same wherever that model answers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from darkroom import candidate
from darkroom.predictor import Predictor

FLAT = 0.1
"""A fall of the log-odds by less than this, which is odds a tenth smaller, is drawn paler than fully."""
FALLS, RISES = (213, 94, 0), (0, 114, 178)
"""Orange and blue, which colour-blind readers can tell apart."""


@dataclass(frozen=True)
class Occlusion:
    """What hiding places of a picture does to the answer."""

    heat: npt.NDArray[np.float32]
    """How far the log-odds of the class fall, shape (S, S): above 0 where the place speaks for the class, below where
    it speaks against. The probability of a sure model hardly moves whatever is hidden, and its odds do."""
    strongest: float
    """How far the probability moves at most, 0 to 1."""


def occlusion(predictor: Predictor, image: npt.NDArray[np.uint8], target: int, grid: int = 8) -> Occlusion:
    """Return what happens to class `target` when places of `image` are hidden, one after the other.

    image: uint8, shape (S, S, 3). The places are `grid` × `grid`; a soft patch of the picture's mean colour hides
    one, so that no new edge is drawn, and what is between two places takes from both. Costs grid² + 1 answers.
    """
    masks = _patches(len(image), grid)
    away = image.mean(axis=(0, 1), dtype=np.float32) - image
    size = candidate.chunk_size(predictor.card.side)
    parts = [predictor.logits(image[np.newaxis])]
    for start in range(0, len(masks), size):  # at 224 pixels all of them together would take 190 MB
        hidden = image + masks[start : start + size, ..., np.newaxis] * away
        parts.append(predictor.logits(np.rint(hidden).astype(np.uint8)))
    probabilities = candidate.softmax(np.concatenate(parts), predictor.card.temperature)
    others = np.delete(probabilities, target, axis=1).sum(
        axis=1
    )  # 1 - probability would lose the digits of a sure model
    tiny = np.finfo(np.float64).tiny
    odds = np.log(probabilities[:, target].clip(tiny)) - np.log(others.clip(tiny))
    falls = (odds[0] - odds[1:]).astype(np.float32)
    heat: npt.NDArray[np.float32] = np.tensordot(falls, masks, axes=1) / masks.sum(axis=0)
    return Occlusion(heat, float(np.abs(probabilities[0, target] - probabilities[1:, target]).max()))


def enlarge(heat: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Return `heat`, shape (S, S), as it lies over the same picture of side × side pixels."""
    return np.asarray(Image.fromarray(heat).resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)


def with_scale(overlaid: npt.NDArray[np.uint8], strongest: float) -> Image.Image:
    """Return a picture, shape (S, S, 3), above a scale of its colours, which are fullest at log-odds of `strongest`."""
    side, height = len(overlaid), max(16, len(overlaid) // 12)
    full = max(strongest, FLAT)
    bar = np.broadcast_to(np.linspace(-full, full, side, dtype=np.float32), (height, side))
    ground = np.full((height, side, 3), 255, np.uint8)
    image = Image.fromarray(np.concatenate([overlaid, overlay(ground, bar)]))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(height * 0.6)
    factor = f"{np.exp(full):.1f}" if full < np.log(10) else f"{np.exp(min(full, 20)):,.0f}"
    middle = side + height / 2
    # Pillow's own font has no signs for times and divided by.
    draw.text((3, middle), f"odds {factor}x higher", "black", font, "lm")
    draw.text((side - 3, middle), f"odds {factor}x lower", "black", font, "rm")
    return image


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the picture in pale grey under its heat, uint8, shape (S, S, 3): orange is for the class, blue against.

    image: uint8, shape (S, S, 3); heat: float, shape (S, S), as in `Occlusion`. The strongest place has the
    fullest colour, unless nothing moves it further than `FLAT`.
    """
    grey = image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    pale = np.repeat(64 + 0.75 * grey[..., np.newaxis], 3, axis=2)
    strength = (np.abs(heat) / max(float(np.abs(heat).max()), FLAT))[..., np.newaxis]
    colour = np.where(heat[..., np.newaxis] > 0, np.array(FALLS), np.array(RISES))
    mixed: npt.NDArray[np.uint8] = np.rint(pale + 0.75 * strength * (colour - pale)).astype(np.uint8)
    return mixed


def _patches(side: int, grid: int) -> npt.NDArray[np.float32]:
    """Return how much each patch hides of each pixel, 0 to 1, shape (grid², side, side): round and soft."""
    step = side / grid
    centres = (np.arange(grid) + 0.5) * step - 0.5
    distance = (np.arange(side) - centres[:, np.newaxis]) / step
    one_way = np.exp(-0.5 * distance**2).astype(np.float32)
    patches: npt.NDArray[np.float32] = np.einsum("iy,jx->ijyx", one_way, one_way).reshape(grid * grid, side, side)
    np.minimum(1.0, 1.25 * patches, out=patches)
    return patches  # wholly hidden in the middle, not in one point only
