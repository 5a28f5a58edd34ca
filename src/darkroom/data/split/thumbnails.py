"""Thumbnails of a data set, and their similarity with and without what the whole set has in common."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

DETAIL = 16
"""Side in pixels of the thumbnails that are compared. Smaller images do not have enough detail: among the 8×8 digits,
different ones are more similar (correlation 0.996) than an image and its JPEG copy (0.991)."""
WAVES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
"""Number of cosines down and across by which thumbnails are compared first."""
FLAT = 2.0
"""Minimum standard deviation of a thumbnail in grey levels; below it there is only noise to compare."""
NEARLY = 2.4
"""Difference in grey levels up to which two thumbnails count as one when computing what a set has in common."""
WIDE = 64
"""Number of images that are shrunk together, which is seven times as fast as one by one."""
PAIRS = 4096
"""Number of pairs of thumbnails compared at once."""
BLOCK = 256
"""Number of thumbnails compared with all others of a cluster at once."""
FEW = 300
"""Largest number of thumbnails of a cluster that are compared pixel by pixel."""
SAMPLE = 2000
"""Largest number of thumbnails from which the common part of the set is computed."""
NOISE = 0.01
"""Fraction of the total variance below which a direction is noise, such as that of JPEG, and is not amplified."""
PRIOR = 10
"""Number of thumbnails from which on half of what they share counts as common: of three, two may well be copies."""
CODE = 64
"""Number of leading directions that are compared first."""


class Thumbnails:
    """Every image as `DETAIL` × `DETAIL` colours.

    Their sums are integers, so that the result of a comparison does not depend on the machine.
    """

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._values = np.empty((len(images), DETAIL * DETAIL * 3), dtype=np.uint8)
        for begin in range(0, len(images), WIDE):
            self._values[begin : begin + WIDE] = _shrunk(images[begin : begin + WIDE])
        self._count = self._values.shape[1]
        self._sums = self._values.sum(axis=1, dtype=np.int64)
        squares = np.concatenate([_products(part, part) for part in self._parts(np.arange(len(images)))])
        self._spreads = self._count * squares - self._sums**2
        self.textured = self._spreads >= (self._count * FLAT) ** 2
        """Shape (N,): whether there is enough texture to compare."""

    def correlation(self, first: Rows, second: Rows) -> npt.NDArray[np.float64]:
        """Return the correlation of each pair of rows, both textured: -1 to 1."""
        parts = zip(self._parts(first), self._parts(second), strict=True)
        products = np.concatenate([_products(left, right) for left, right in parts])
        covariance = self._count * products - self._sums[first] * self._sums[second]
        result: npt.NDArray[np.float64] = covariance / np.sqrt(self._spreads[first]) / np.sqrt(self._spreads[second])
        return result

    def shadows(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return the projections of the normalised thumbnails (mean 0, length 1) on orthonormal cosines."""
        places = np.pi * (np.arange(DETAIL) + 0.5) / DETAIL
        waves = np.stack([np.outer(np.cos(down * places), np.cos(across * places)) for down, across in WAVES])
        waves = waves.repeat(3, axis=2).reshape(len(WAVES), -1)
        waves /= np.linalg.norm(waves, axis=1, keepdims=True)
        products = np.concatenate([part @ waves.T.astype(np.float32) for part in self._parts(rows)])
        lengths = np.sqrt(self._spreads[rows] / self._count)
        result: npt.NDArray[np.float32] = (products / lengths[:, None]).astype(np.float32)
        return result

    def _parts(self, rows: Rows) -> list[npt.NDArray[np.uint8]]:
        return [self._values[rows[begin : begin + PAIRS]] for begin in range(0, max(1, len(rows)), PAIRS)]

    def normal(self, rows: Rows) -> Floats:
        """Return thumbnails with mean 0 and length 1, shape (rows, pixels)."""
        lengths = np.sqrt(np.maximum(self._spreads[rows], 1) / self._count)
        means = self._sums[rows] / self._count
        result: Floats = ((self._values[rows] - means[:, None]) / lengths[:, None]).astype(np.float32)
        return result

    def copies_share(self, rows: Rows, most: float) -> float:
        """Return the largest fraction of the rows that deviate from one of them by at most `most`; a sample if there
        are many.

        The deviation is the largest difference in any pixel, in units of the standard deviation, after normalising
        brightness and contrast.
        """
        values = self.normal(rows[:: max(1, -(-len(rows) // FEW))])
        spread = 1 / np.sqrt(self._count)
        deviations = (np.abs(values - np.outer(values @ one, one)).max(axis=1) for one in values)
        return max(float((deviation <= most * spread).mean()) for deviation in deviations)

    def different(self, rows: Rows) -> Rows:
        """Return the rows that differ from every earlier one by more than noise."""
        values = self._values[rows].astype(np.float32)
        squares = (values**2).sum(axis=1)
        near = squares[:, None] + squares - 2 * (values @ values.T) < self._count * NEARLY**2
        kept = np.zeros(len(rows), dtype=np.bool_)
        for place, others in enumerate(near):
            kept[place] = not (others & kept).any()
        return rows[kept]


class Details:
    """Residuals of the thumbnails after removing what the set has in common.

    Bright discs on black correlate above 0.95, whatever they show. Therefore the mean is subtracted, and each principal
    direction is divided by its standard deviation, with the level of noise as lower limit (Agnan Kessy, Alex Lewin and
    Korbinian Strimmer, Optimal Whitening and Decorrelation, 2018). Smooth shading and the edges of a common shape then
    have little weight, and images that are not copies have little similarity. Few images are not enough to estimate it.
    """

    def __init__(self, thumbnails: Thumbnails, rows: Rows) -> None:
        """Compute what `rows` have in common; near repetitions count once."""
        self._thumbnails = thumbnails
        sample = thumbnails.different(rows[:: max(1, -(-len(rows) // SAMPLE))])
        values = thumbnails.normal(sample).astype(np.float64)
        self._mean = values.sum(axis=0) / (len(sample) + PRIOR)
        values -= self._mean
        spreads, directions = np.linalg.eigh(values.T @ values / max(1, len(sample)))
        least = spreads.sum() * (NOISE + 2 / max(1, len(sample))) or 1.0
        whitened = directions / np.sqrt(np.maximum(spreads, 0) + least)
        self._directions = whitened[:, ::-1].astype(np.float32)
        self._rows = rows

    def alike(self, first: Rows, second: Rows, least: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return for each pair whether its similarity is `least` or more, shape (pairs,)."""
        found = np.zeros(len(first), dtype=np.bool_)
        # If many images are similar, their residuals are compared by the leading directions first.
        chosen = np.arange(len(first)) if len(first) <= PAIRS else self._may_reach(first, second, least)
        found[chosen] = self.likeness(first[chosen], second[chosen]) >= least[chosen]
        return found

    def likeness(self, first: Rows, second: Rows) -> Floats:
        """Return the correlation of the residuals of each pair: -1 to 1, about 0 for different images."""
        parts = [slice(begin, begin + PAIRS) for begin in range(0, max(1, len(first)), PAIRS)]
        found = [np.einsum("ij,ij->i", self._of(first[part]), self._of(second[part])) for part in parts]
        result: Floats = np.concatenate(found)
        return result

    def nearest_leaders(self, rows: Rows, least: float) -> Rows:
        """Return for each row the most similar leader. A leader is a row that is not similar to an earlier one."""
        leaders = self._of(rows[:1])
        for begin in range(0, len(rows), BLOCK):
            block = self._of(rows[begin : begin + BLOCK])
            block = block[((block @ leaders.T) < least).all(axis=1)]
            likeness = block @ block.T
            chosen: list[int] = []
            for place in range(len(block)):
                if not chosen or (likeness[place, chosen] < least).all():
                    chosen.append(place)
            leaders = np.vstack([leaders, block[chosen]])
        parts = (self._of(rows[begin : begin + BLOCK]) for begin in range(0, len(rows), BLOCK))
        nearest: Rows = np.concatenate([(part @ leaders.T).argmax(axis=1) for part in parts]).astype(np.int64)
        return nearest

    @cached_property
    def _codes(self) -> Floats:
        """Return the residual of each row in `CODE` directions."""
        codes = np.zeros((int(self._rows.max()) + 1, CODE), dtype=np.float32)
        for begin in range(0, len(self._rows), PAIRS):
            part = self._rows[begin : begin + PAIRS]
            codes[part] = self._of(part)[:, :CODE]
        return codes

    def _may_reach(self, first: Rows, second: Rows, least: npt.NDArray[np.float64]) -> Rows:
        """Return the pairs whose similarity can reach `least`; the omitted directions can only reduce it."""
        limits = (2 - 2 * least) * 1.01  # tolerance for rounding
        parts = [slice(begin, begin + 16 * PAIRS) for begin in range(0, len(first), 16 * PAIRS)]
        gaps = (self._codes[first[part]] - self._codes[second[part]] for part in parts)
        distances = np.concatenate([np.einsum("ij,ij->i", gap, gap) for gap in gaps])
        return np.flatnonzero(distances <= limits)

    def _of(self, rows: Rows) -> Floats:
        remains = (self._thumbnails.normal(rows) - self._mean.astype(np.float32)) @ self._directions
        result: Floats = remains / np.maximum(np.linalg.norm(remains, axis=1, keepdims=True), 1e-9)
        return result


def _shrunk(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the thumbnails of images, shape (images, values).

    Pillow shrinks them side by side as one wide image, since a box never reaches into the next one.
    """
    count, size = images.shape[:2]
    wide = Image.fromarray(images.swapaxes(0, 1).reshape(size, count * size, 3))
    small = np.asarray(wide.resize((count * DETAIL, DETAIL), Image.Resampling.BOX))
    return small.reshape(DETAIL, count, DETAIL, 3).swapaxes(0, 1).reshape(count, -1)


def _products(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Rows:
    """Return the sum of the products of each pair of rows: at most 768 × 255², which 32 bits hold."""
    sums: Rows = np.einsum("ij,ij->i", left.astype(np.int32), right.astype(np.int32)).astype(np.int64)
    return sums
