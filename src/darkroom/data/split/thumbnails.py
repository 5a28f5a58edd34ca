"""Thumbnails of a data set, how alike two are, and how alike they are beyond what the whole set has in common."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

DETAIL = 16
"""Pixels along each side of the thumbnails that are compared. An image that was stored smaller has not that much to
compare: of the 8×8 digits, different ones are more alike (correlation 0.996) than one and its JPEG copy (0.991)."""
WAVES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
"""Cosines down and across by which thumbnails are compared first."""
FLAT = 2.0
"""Least spread of a thumbnail in grey levels; below it there is nothing but noise to compare."""
NEARLY = 2.4
"""Difference of two thumbnails in grey levels up to which they count once for what a set has in common."""
PAIRS = 4096
"""Pairs of thumbnails compared at once."""
BLOCK = 256
"""Thumbnails that are compared with all others of a cluster at once."""
FEW = 300
"""Thumbnails of a cluster that are compared pixel by pixel, at most."""
SAMPLE = 2000
"""Thumbnails from which it is learnt what the set has in common, at most."""
NOISE = 0.01
"""Share of the set's whole variance below which a direction is noise, such as of JPEG, and is not enlarged."""
PRIOR = 10
"""Thumbnails needed before half of what they share counts as the set's own: of three, two may well be copies."""
CODE = 64
"""Leading directions by which thumbnails are compared before all."""


class Thumbnails:
    """Every image as `DETAIL` × `DETAIL` colours.

    Their sums are whole numbers, so that no machine rounds a pair to the other side of a limit.
    """

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._values = np.empty((len(images), DETAIL * DETAIL * 3), dtype=np.uint8)
        for row, image in enumerate(images):
            small = Image.fromarray(np.asarray(image)).resize((DETAIL, DETAIL), Image.Resampling.BOX)
            self._values[row] = np.asarray(small).reshape(-1)
        self._count = self._values.shape[1]
        self._sums = self._values.sum(axis=1, dtype=np.int64)
        squares = np.concatenate([_products(part, part) for part in self._parts(np.arange(len(images)))])
        self._spreads = self._count * squares - self._sums**2
        self.textured = self._spreads >= (self._count * FLAT) ** 2
        """Shape (N,): whether there is something to compare."""

    def correlation(self, first: Rows, second: Rows) -> npt.NDArray[np.float64]:
        """Return the correlation of each pair of rows, both textured: -1 to 1."""
        parts = zip(self._parts(first), self._parts(second), strict=True)
        products = np.concatenate([_products(left, right) for left, right in parts])
        covariance = self._count * products - self._sums[first] * self._sums[second]
        result: npt.NDArray[np.float64] = covariance / np.sqrt(self._spreads[first]) / np.sqrt(self._spreads[second])
        return result

    def shadows(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return the products of the thumbnails, brought to mean 0 and length 1, with orthonormal waves."""
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
        """Return thumbnails at mean 0 and length 1, shape (rows, pixels)."""
        lengths = np.sqrt(np.maximum(self._spreads[rows], 1) / self._count)
        means = self._sums[rows] / self._count
        result: Floats = ((self._values[rows] - means[:, None]) / lengths[:, None]).astype(np.float32)
        return result

    def copies_share(self, rows: Rows, most: float) -> float:
        """Return the largest share of the rows that deviate from one of them by `most` at most; of many, of a sample.

        A thumbnail deviates by its largest difference in any pixel, in units of its spread, beyond brightness and
        contrast.
        """
        values = self.normal(rows[:: max(1, -(-len(rows) // FEW))])
        spread = 1 / np.sqrt(self._count)
        deviations = (np.abs(values - np.outer(values @ one, one)).max(axis=1) for one in values)
        return max(float((deviation <= most * spread).mean()) for deviation in deviations)

    def different(self, rows: Rows) -> Rows:
        """Return those of the rows that differ by more than noise from every earlier one of them."""
        values = self._values[rows].astype(np.float32)
        squares = (values**2).sum(axis=1)
        near = squares[:, None] + squares - 2 * (values @ values.T) < self._count * NEARLY**2
        kept = np.zeros(len(rows), dtype=np.bool_)
        for place, others in enumerate(near):
            kept[place] = not (others & kept).any()
        return rows[kept]


class Details:
    """What remains of each thumbnail when what the set has in common is removed.

    Bright discs on black correlate above 0.95, whatever is on them. So the mean is subtracted, and each direction in
    which the set varies is divided by its spread, down to that of noise (Agnan Kessy, Alex Lewin and Korbinian
    Strimmer, Optimal Whitening and Decorrelation, 2018): smooth shading and the edges of a common shape then count for
    little, and images that are not copies are hardly alike at all. Of few images nothing is known to be common.
    """

    def __init__(self, thumbnails: Thumbnails, rows: Rows) -> None:
        """Learn what `rows` have in common; images that nearly repeat others count once."""
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
        """Return for each pair whether its likeness is `least` of it or more, shape (pairs,)."""
        found = np.zeros(len(first), dtype=np.bool_)
        # Where many images look alike, what remains of them is compared by its leading directions first.
        chosen = np.arange(len(first)) if len(first) <= PAIRS else self._may_reach(first, second, least)
        found[chosen] = self.likeness(first[chosen], second[chosen]) >= least[chosen]
        return found

    def likeness(self, first: Rows, second: Rows) -> Floats:
        """Return the correlation of what remains of each pair: -1 to 1, about 0 for different images."""
        parts = [slice(begin, begin + PAIRS) for begin in range(0, max(1, len(first)), PAIRS)]
        found = [np.einsum("ij,ij->i", self._of(first[part]), self._of(second[part])) for part in parts]
        result: Floats = np.concatenate(found)
        return result

    def nearest_leaders(self, rows: Rows, least: float) -> Rows:
        """Return for each row which leader it is most like. A leader is a row that is not alike an earlier one."""
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
        """What remains of each row, in `CODE` directions."""
        codes = np.zeros((int(self._rows.max()) + 1, CODE), dtype=np.float32)
        for begin in range(0, len(self._rows), PAIRS):
            part = self._rows[begin : begin + PAIRS]
            codes[part] = self._of(part)[:, :CODE]
        return codes

    def _may_reach(self, first: Rows, second: Rows, least: npt.NDArray[np.float64]) -> Rows:
        """Return the places of the pairs whose likeness can be `least`: no direction left out brings them nearer."""
        limits = (2 - 2 * least) * 1.01  # room for rounding
        parts = [slice(begin, begin + 16 * PAIRS) for begin in range(0, len(first), 16 * PAIRS)]
        gaps = (self._codes[first[part]] - self._codes[second[part]] for part in parts)
        distances = np.concatenate([np.einsum("ij,ij->i", gap, gap) for gap in gaps])
        return np.flatnonzero(distances <= limits)

    def _of(self, rows: Rows) -> Floats:
        remains = (self._thumbnails.normal(rows) - self._mean.astype(np.float32)) @ self._directions
        result: Floats = remains / np.maximum(np.linalg.norm(remains, axis=1, keepdims=True), 1e-9)
        return result


def _products(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> Rows:
    """Return the sum of the products of each pair of rows: at most 768 × 255², which 32 bits hold."""
    sums: Rows = np.einsum("ij,ij->i", left.astype(np.int32), right.astype(np.int32)).astype(np.int64)
    return sums
