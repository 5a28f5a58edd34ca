"""Alignment of pairs of images that may show the same scene, and their agreement patch by patch.

The alignment is inverse compositional (Baker and Matthews, Lucas-Kanade 20 Years On, 2004) with an affine transform and
normalised brightness and contrast, from coarse to fine, for many pairs at once.
"""

import numpy as np
import numpy.typing as npt

from darkroom.data.split.descriptors import SIDE
from darkroom.data.split.thumbnails import Floats

BLURS, STEPS = (2.0, 1.0), 5
"""Standard deviations in pixels by which the images are blurred one after the other, and steps at each of them."""
FARTHEST, STEP = 0.6, 0.15
"""Largest change of each parameter from the identity, and in one step, in units of half an image."""
OVERLAP = 0.5
"""Minimum fraction of the image that the other one covers after the alignment."""
FINE = 2.0
"""Standard deviation in pixels of the blur that is subtracted before patches are compared."""
PATCH = 8
"""Side of a patch in pixels."""

_ROWS, _COLUMNS = np.divmod(np.arange(SIDE * SIDE, dtype=np.float32), SIDE)
_X, _Y = (2 * _COLUMNS + 1) / SIDE - 1, (2 * _ROWS + 1) / SIDE - 1
_BASIS = np.stack([np.ones_like(_X), _X, _Y])
"""Constant, x and y of each pixel, from -1 to 1: an affine transform, shape (2, 3), multiplies them."""
_IDENTITY = np.array([[0, 1, 0], [0, 0, 1]], dtype=np.float32)


def agreement(first: Floats, second: Floats, aligned: bool = True) -> Floats:
    """Return how well the details of each pair agree, the better of as they are and (if `aligned`) aligned: -1 to 1.

    It is the mean over patches of the correlation after subtracting a blurred image. first, second: grey images, shape
    (pairs, SIDE, SIDE), float32, values 0 to 255.
    """
    moves = np.tile(_IDENTITY, (len(first), 1, 1))
    plain = _patches(first, second, moves)
    if not aligned:
        return plain
    for blur in BLURS:
        moves = _aligned(_blurred(first, blur), _blurred(second, blur), moves)
    result: Floats = np.maximum(plain, _patches(first, second, moves))
    return result


def _aligned(first: Floats, second: Floats, moves: Floats) -> Floats:
    """Return the transforms, shape (pairs, 2, 3), by which `first` is sampled to look like `second`."""
    count = len(first)
    down, across = (
        part.reshape(count, 1, SIDE * SIDE) * np.float32(SIDE / 2) for part in np.gradient(second, axis=(1, 2))
    )
    steepest = np.concatenate([across * _BASIS, down * _BASIS], axis=1)
    steepest -= steepest.mean(axis=2, keepdims=True)
    curvature = steepest @ steepest.swapaxes(1, 2)
    damping = np.trace(curvature, axis1=1, axis2=2)[:, None, None] * 0.003 + 1e-3
    inverse = np.linalg.inv(curvature + np.eye(6, dtype=np.float32) * damping)
    target = second.reshape(count, SIDE * SIDE)
    for _ in range(STEPS):
        sampled, inside = _sampled(first, moves)
        wanted, contrast = _normal(target, inside)
        error = _normal(sampled, inside)[0] - wanted
        change = (inverse @ (steepest @ (error * contrast)[..., None])).reshape(count, 2, 3).clip(-STEP, STEP)
        moves = _composed(moves, change)
    return moves


def _composed(moves: Floats, change: Floats) -> Floats:
    """Return `moves` after the inverse of the identity plus `change`, within `FARTHEST` of the identity."""
    whole, step = np.zeros((2, len(moves), 3, 3), dtype=np.float32)
    whole[:, 0, 0] = step[:, 0, 0] = 1
    whole[:, 1:], step[:, 1:] = moves, change + _IDENTITY
    found = (whole @ np.linalg.inv(step))[:, 1:]
    result: Floats = _IDENTITY + (found - _IDENTITY).clip(-FARTHEST, FARTHEST)
    return result


def _patches(first: Floats, second: Floats, moves: Floats) -> Floats:
    """Return the mean correlation of the patches; -1 where the transform leaves too little."""
    sampled, inside = _sampled(first, moves)
    count, cells = len(first), SIDE // PATCH
    left = sampled.reshape(first.shape) - _blurred(sampled.reshape(first.shape), FINE)
    right = second - _blurred(second, FINE)

    def divided(values: Floats) -> Floats:
        tiles = values.reshape(count, cells, PATCH, cells, PATCH).swapaxes(2, 3)
        return tiles.reshape(count * cells * cells, PATCH * PATCH)

    covered = divided(inside)
    one, other = (_normal(divided(part), covered)[0] for part in (left, right))
    correlations = np.einsum("ij,ij->i", one, other).reshape(count, cells * cells)
    used = covered.mean(axis=1).reshape(count, cells * cells) > 0.6
    means = (correlations * used).sum(axis=1) / np.maximum(1, used.sum(axis=1))
    result: Floats = np.where(inside.mean(axis=1) >= OVERLAP, means, -1).astype(np.float32)
    return result


def _sampled(images: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Return images at transformed places, bilinear, and whether these are inside: both shape (pairs, pixels)."""
    places = (moves @ _BASIS + 1) * np.float32(SIDE / 2) - np.float32(0.5)
    inside = ((places >= -0.5) & (places <= SIDE - 0.5)).all(axis=1)
    places = places.clip(0, SIDE - 1.001)
    corners = places.astype(np.int32)
    right, low = (places - corners).swapaxes(0, 1)
    start = corners[:, 1] * SIDE + corners[:, 0] + np.arange(len(images), dtype=np.int32)[:, None] * SIDE * SIDE
    flat = np.ascontiguousarray(images).ravel()
    above = flat[start] * (1 - right) + flat[start + 1] * right
    below = flat[start + SIDE] * (1 - right) + flat[start + SIDE + 1] * right
    return above * (1 - low) + below * low, np.asarray(inside, dtype=np.float32)


def _normal(values: Floats, inside: Floats) -> tuple[Floats, Floats]:
    """Return the rows with mean 0 and length 1 where they are inside, 0 elsewhere, and their lengths before."""
    means = (values * inside).sum(axis=1, keepdims=True) / np.maximum(1, inside.sum(axis=1, keepdims=True))
    centred = (values - means) * inside
    lengths: Floats = np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True)), np.float32(1e-3))
    return centred / lengths, lengths


def _blurred(images: Floats, deviation: float) -> Floats:
    places = np.arange(SIDE)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
    weights /= weights.sum(axis=1, keepdims=True)
    matrix: npt.NDArray[np.float32] = weights.astype(np.float32)
    result: Floats = (matrix @ images @ matrix.T).astype(np.float32, copy=False)
    return result
