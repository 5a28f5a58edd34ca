"""Pairs of images that may be copies: hashes of few different bits, and projections of thumbnails at small distances.

Every such pair is found, although far fewer are compared than there are. Pairs are yielded in parts, in no particular
order, which bounds memory even if all images are similar.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from darkroom.data.split.thumbnails import PAIRS, Floats, Rows

BLOCK = 64
"""Number of rows compared with others at once, which bounds memory."""
WIDEST = 8
"""Largest number of bits by which hashes are grouped; more would make groups too small."""

Pairs = Iterator[tuple[Rows, Rows]]


def near_hashes(hashes: npt.NDArray[np.uint64], tolerance: int) -> Pairs:
    """Yield the indices of all pairs of hashes, shape (N,), that differ in at most `tolerance` of their 64 bits.

    If the bits are divided into `tolerance` + 1 groups, at least one group is equal in both hashes of a pair, so only
    hashes with an equal group are compared: of 60,000 images, 8% of all pairs.
    """
    edges = [64 * number // (tolerance + 1) for number in range(tolerance + 2)]
    masks = [_mask(begin, min(end, begin + WIDEST)) for begin, end in pairwise(edges)]
    compared = sum(int((np.unique(hashes & mask, return_counts=True)[1] ** 2).sum()) for mask in masks)
    if compared > len(hashes) ** 2:  # most groups are equal, so comparing each pair once is faster
        masks = [np.uint64(0)]
    return _gathered(_equal_groups(hashes, tolerance, masks))


def near_projections(projections: Floats, distance: float) -> Pairs:
    """Yield the indices of all pairs of projections, shape (N, waves), at most `distance` apart.

    Because of rounding, a few pairs that are slightly farther apart are yielded as well, and the other way round.
    """
    return _gathered(_near_cells(projections, distance))


def _mask(begin: int, end: int) -> np.uint64:
    return np.uint64((1 << end) - (1 << begin))


def _equal_groups(hashes: npt.NDArray[np.uint64], tolerance: int, masks: list[np.uint64]) -> Pairs:
    for number, mask in enumerate(masks):
        order = np.argsort(hashes & mask, kind="stable")
        ordered = hashes[order]
        for begin, end in _runs(ordered & mask):
            for row in range(begin, end, BLOCK):
                bits = np.bitwise_count(ordered[row : min(row + BLOCK, end), None] ^ ordered[None, row:end])
                left, right = _pairs(bits <= tolerance, row, row)
                differ = ordered[left] ^ ordered[right]
                # A pair that was found before because of another group is not yielded again.
                new = np.all([differ & earlier for earlier in masks[:number]], axis=0) if number else slice(None)
                yield order[left[new]], order[right[new]]


def _near_cells(projections: Floats, distance: float) -> Pairs:
    """Compare projections whose first and second values differ by at most `distance`."""
    cells = np.floor(projections[:, 0] / distance)
    order = np.lexsort((projections[:, 1], cells))
    projections, cells = projections[order], cells[order]
    # The product of these two is half the squared distance, subtracted from half of the largest allowed.
    half, one = (projections**2).sum(axis=1, keepdims=True) / 2, np.ones((len(projections), 1), dtype=np.float32)
    left, right = np.hstack([projections, distance**2 / 2 - half, one]), np.hstack([projections, one, -half])
    for begin, end in _runs(cells, least=1):
        beyond = int(np.searchsorted(cells, cells[begin] + 1, side="right"))
        for row in range(begin, end, BLOCK):
            last = min(row + BLOCK, end)
            most = projections[last - 1, 1] + distance
            stop = begin + int(np.searchsorted(projections[begin:end, 1], most, side="right"))
            first, second = _pairs(left[row:last] @ right[row:stop].T >= 0, row, row)
            yield order[first], order[second]
            beside = projections[end:beyond, 1]
            low, high = np.searchsorted(beside, [projections[row, 1] - distance, most]) + end
            first, second = _pairs(left[row:last] @ right[low:high].T >= 0, row, int(low))
            yield order[first], order[second]


def _runs(ordered: npt.NDArray[np.generic], least: int = 2) -> Iterator[tuple[int, int]]:
    """Yield where each run of at least `least` equal values begins and ends."""
    borders = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    starts, ends = np.append(0, borders), np.append(borders, len(ordered))
    long = ends - starts >= least
    yield from zip(starts[long].tolist(), ends[long].tolist(), strict=True)


def _pairs(close: npt.NDArray[np.bool_], row: int, column: int) -> tuple[Rows, Rows]:
    """Return the indices of the pairs in `close`, whose rows and columns start at these, each pair once."""
    first, second = np.divmod(np.flatnonzero(close), max(1, close.shape[1]))
    first, second = row + first, column + second
    once = first < second
    return first[once], second[once]


def _gathered(pairs: Pairs) -> Pairs:
    """Yield the pairs in fewer parts, of about `PAIRS` each."""
    parts: list[tuple[Rows, Rows]] = []
    count = 0
    for part in pairs:
        if len(part[0]):
            parts.append(part)
            count += len(part[0])
        if count >= PAIRS:
            yield _joined(parts)
            parts, count = [], 0
    if parts:
        yield _joined(parts)


def _joined(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)
