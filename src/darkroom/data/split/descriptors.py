"""Descriptors by which images of one scene are found: what is where, roughly, in an image and in its mirror image."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.data.split.thumbnails import Floats, Rows

SIDE = 32
"""Side in pixels of the images that are compared, after shrinking them. Smaller images are not compared."""
CELLS, ORIENTATIONS = 4, 8
"""The image is divided into `CELLS` × `CELLS` cells that overlap by half, as in HOG (Dalal and Triggs, 2005)."""
COLOUR = 8
"""Side in pixels of the small colour image."""
KEPT = (64, 32)
"""Number of directions kept of the gradients and of the colours. 128 of the gradients find no more pairs."""
COLOUR_WEIGHT = 0.2
"""Weight of the colours in the similarity; that of the gradients is the rest."""
NOISE = 0.002
"""Fraction of the total variance below which a direction is noise."""
SAMPLE, BLOCK = 4000, 64
"""Number of images from which directions are computed, and number described at once."""
PAIRS = 4096
"""Number of pairs compared at once."""
LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))


class Descriptors:
    """Vectors of length 1 for images and for their mirror images, float32, shape (N, 96); products are similarities."""

    def __init__(self, images: npt.NDArray[np.uint8], rows: Rows) -> None:
        """Describe `rows` of the images, shape (N, S, S, 3) with S of at least `SIDE`."""
        sample = [_values(images, part) for part in _parts(rows[:: max(1, -(-len(rows) // SAMPLE))])]
        places = np.arange(CELLS * CELLS * ORIENTATIONS).reshape(CELLS, CELLS, ORIENTATIONS)
        mirrored = places[:, ::-1, -np.arange(ORIENTATIONS) % ORIENTATIONS].ravel()
        flipped = np.arange(COLOUR * COLOUR * 3).reshape(COLOUR, COLOUR, 3)[:, ::-1].ravel()
        orders, weights = (mirrored, flipped), np.sqrt((1 - COLOUR_WEIGHT, COLOUR_WEIGHT)).astype(np.float32)
        found = [
            _directions(np.concatenate(values), order, kept)
            for values, order, kept in zip(zip(*sample, strict=True), orders, KEPT, strict=True)
        ]
        self.upright, self.mirror = np.empty((2, len(rows), sum(KEPT)), dtype=np.float32)
        # Raw values of all images at once would need more memory than these.
        for begin, part in zip(range(0, len(rows), BLOCK), _parts(rows), strict=True):
            column = 0
            for values, order, (mean, directions), weight in zip(
                _values(images, part), orders, found, weights, strict=True
            ):
                place = slice(begin, begin + len(part)), slice(column, column + directions.shape[1])
                self.upright[place] = weight * _projected(values, mean, directions)
                # Projecting mirror images is the same as projecting on mirrored directions.
                self.mirror[place] = weight * _projected(values, mean[order], directions[order])
                column += directions.shape[1]

    def similarity(self, first: Rows, second: Rows) -> Floats:
        """Return the similarity of pairs of described images, as they are or with one of them mirrored."""
        result = np.empty(len(first), dtype=np.float32)
        for begin in range(0, len(first), PAIRS):  # the vectors of all pairs would need 1 KB per pair
            place = slice(begin, begin + PAIRS)
            left, right, mirror = self.upright[first[place]], self.upright[second[place]], self.mirror[second[place]]
            result[place] = np.maximum(np.einsum("ij,ij->i", left, right), np.einsum("ij,ij->i", left, mirror))
        return result


def shrunk(images: npt.NDArray[np.uint8]) -> Floats:
    """Return images, shape (n, S, S, 3), as float32 with side `SIDE`."""
    count, size = images.shape[:2]
    if size != SIDE:  # side by side as one wide image, since a box never reaches into the next one
        wide = Image.fromarray(images.swapaxes(0, 1).reshape(size, count * size, 3))
        small = np.asarray(wide.resize((count * SIDE, SIDE), Image.Resampling.BOX))
        images = small.reshape(SIDE, count, SIDE, 3).swapaxes(0, 1)
    return images.astype(np.float32)


def grey(images: Floats) -> Floats:
    """Return the brightness of colour images, shape (n, SIDE, SIDE, 3)."""
    result: Floats = images[..., 0] * LUMA[0] + images[..., 1] * LUMA[1] + images[..., 2] * LUMA[2]
    return result


def _parts(rows: Rows) -> list[Rows]:
    return [rows[begin : begin + BLOCK] for begin in range(0, len(rows), BLOCK)]


def _values(images: npt.NDArray[np.uint8], rows: Rows) -> tuple[Floats, Floats]:
    """Return gradients and colours of images."""
    small = shrunk(images[rows])
    squares = small.reshape(len(small), COLOUR, -1, SIDE, 3).sum(axis=2)
    squares = squares.reshape(len(small), COLOUR, COLOUR, -1, 3).sum(axis=3)
    return _gradients(grey(small)), _unit((squares - squares.mean((1, 2, 3), keepdims=True)).reshape(len(small), -1))


def _gradients(bright: Floats) -> Floats:
    """Return the square roots of orientation histograms, shape (n, cells × orientations), with length 1.

    The weight of a gradient falls with the fourth power of the cosine of its angle to the bin's orientation.
    """
    padded = np.pad(bright, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    squares = np.maximum(across**2 + down**2, 1)
    size = np.sqrt(squares)
    # cos⁴ is a polynomial in p and q, the cosine and sine of twice the angle: five pooled planes give all orientations.
    q = 2 * across * down / squares
    p = (across + down) * (across - down) / squares
    places = (np.arange(SIDE) + 0.5) * CELLS / SIDE
    pooling = np.maximum(0, 1 - abs(places - (np.arange(CELLS)[:, None] + 0.5))).astype(np.float32)
    scaled = p * size
    planes = [pooling @ plane @ pooling.T for plane in (size, scaled, q * size, scaled * p, scaled * q)]
    angles = 2 * np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    cosine, sine = np.cos(angles), np.sin(angles)
    factors = np.stack([1 + sine**2, 2 * cosine, 2 * sine, cosine**2 - sine**2, 2 * cosine * sine])
    found = np.maximum(np.stack(planes, axis=-1) @ factors.astype(np.float32), 0)
    return _unit(np.sqrt(_unit(found.reshape(len(bright), -1))))


def _directions(values: Floats, order: Rows, kept: int) -> tuple[Floats, Floats]:
    """Return the mean and the `kept` principal directions, divided by the square roots of their deviations.

    What images often have in common then has less weight. order: the place of each value in a mirror image; mirror
    images are counted, too. Of few images, directions are not divided by much, because their deviations are unknown.
    """
    sample = values[:: max(1, -(-len(values) // SAMPLE))].astype(np.float64)
    sample = np.concatenate([sample, sample[:, order]])
    mean = sample.mean(axis=0) * len(sample) / (len(sample) + 20)
    sample -= mean
    spreads, directions = np.linalg.eigh(sample.T @ sample / len(sample))
    spreads = np.maximum(spreads, 0) + (spreads.sum() * (NOISE + 1 / len(sample)) or 1.0)
    chosen = slice(len(spreads), -kept - 1, -1)
    result = directions[:, chosen] / spreads[chosen] ** 0.25
    return mean.astype(np.float32), result.astype(np.float32)


def _projected(values: Floats, mean: Floats, directions: Floats) -> Floats:
    return _unit(values @ directions - mean @ directions)


def _unit(values: Floats) -> Floats:
    result: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return result
