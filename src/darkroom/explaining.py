"""Which places of a picture an answer rests on: hide one after the other and see how far its probability falls.

The method is Zeiler and Fergus's (Visualizing and Understanding Convolutional Networks, 2014, section 4.2). It asks
the very model that is served, needs no gradients, and so says the same wherever that model answers.
"""

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.predictor import Predictor

FLAT = 0.0005
"""A fall of the probability by less than this is drawn paler than fully.

Far below what matters to the answer: a sure model's probability hardly moves whatever is hidden, and still some places
move it a hundred times as far as others."""
FALLS, RISES = (213, 94, 0), (0, 114, 178)
"""Orange and blue, which colour-blind readers can tell apart."""


def occlusion(
    predictor: Predictor, image: npt.NDArray[np.uint8], target: int, grid: int = 8
) -> npt.NDArray[np.float32]:
    """Return how far the probability of class `target` falls when a place is hidden, float32, shape (S, S).

    image: uint8, shape (S, S, 3). The places are `grid` × `grid`; a soft patch of the picture's mean colour hides
    one, so that no new edge is drawn, and what is between two places takes from both. Values are -1 to 1: above 0
    where the place speaks for the class, below where it speaks against. Costs grid² + 1 answers.
    """
    masks = _patches(len(image), grid)
    away = image.mean(axis=(0, 1), dtype=np.float32) - image
    size = candidate.chunk_size(predictor.card.side)
    parts = [predictor.logits(image[np.newaxis])]
    for start in range(0, len(masks), size):  # at 224 pixels all of them together would take 190 MB
        hidden = image + masks[start : start + size, ..., np.newaxis] * away
        parts.append(predictor.logits(np.rint(hidden).astype(np.uint8)))
    probability = candidate.softmax(np.concatenate(parts), predictor.card.temperature)[:, target]
    falls = (probability[0] - probability[1:]).astype(np.float32)
    heat: npt.NDArray[np.float32] = np.tensordot(falls, masks, axes=1) / masks.sum(axis=0)
    return heat


def overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the picture in pale grey under its heat, uint8, shape (S, S, 3): orange is for the class, blue against.

    image: uint8, shape (S, S, 3); heat: float, shape (S, S), as `occlusion` returns it. The strongest place has the
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
