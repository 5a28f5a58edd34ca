"""Detection of exact and near copies in a data set.

Exact copies have the same bytes. Near copies (re-encoded, resized, retouched) have perceptual hashes that differ in few
bits, confirmed by comparing pixels, because the hash alone also matches images with the same few large shapes. If the
pixels are almost identical, the hash is ignored, because in smooth images many of its bits depend on noise.

All copies of an image resemble one another. A large cluster in which they do not is a family, such as one coin at many
angles, in which each image resembles only the next one: such a cluster is divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from darkroom.data.split import pairs
from darkroom.data.split.decisions import Applied, undecided
from darkroom.data.split.thumbnails import DETAIL, Details, Rows, Thumbnails
from darkroom.packed import Record

ALIKE = 0.95
"""Minimum correlation of the thumbnails of copies. Measured on all of CIFAR-10 with hashes up to 8 bits apart: 450
pairs pass, none in different classes, and JPEG quality 60 or resizing by 0.5 or 1.5 leaves at least 0.966."""
SURE = 0.99
"""Correlation above which the hash is ignored. On CIFAR-10: 18 pairs, none in different classes (0.98: 65 and 2)."""
REMAINS = 0.8
"""Minimum correlation of the residuals after removing what the images of the set have in common. All 468 pairs of
CIFAR-10 have 0.82 or more, and the three changes leave at least 0.92; two random images of it have at most 0.36."""
ACROSS = 0.98
"""The same for copies in different classes, which are excluded: a false positive costs two good images."""
FAMILY, FAMILY_SHARE = 20, 0.25
"""Number of images, and fraction of a class, above which a cluster may be a family."""
DEVIATION, COPIES_SHARE = 0.35, 0.9
"""A cluster is not a family if one of its images differs from at least `COPIES_SHARE` of them by at most `DEVIATION` in
every pixel (see `Thumbnails.copies_share`). Measured: half of 60 modified copies of a photograph differ by 0.18 or
less from one of them, half of the coins at random angles by 0.49 or more."""


@dataclass(frozen=True)
class Copies:
    """Which images are copies of one another."""

    exact: Rows
    """Shape (N,): equal numbers for equal bytes."""
    clusters: Rows
    """Shape (N,): equal numbers for images that are connected by copies, exact or near, directly or indirectly."""
    conflicts: npt.NDArray[np.bool_]
    """Shape (N,): whether the image itself has a copy in another class. Images excluded by a decision do not count."""


def find(
    records: Sequence[Record], images: npt.NDArray[np.uint8], tolerance: int, applied: Applied | None = None
) -> Copies:
    """Find all copies among `records`; `images`, shape (N, S, S, 3), contains the pixels.

    Near copies differ in at most `tolerance` of the 64 bits of their hashes, or are almost identical; 0 finds only
    exact copies. Time grows with the square of N (60,000: about 5 s), and memory with N.

    applied: decisions about labels. Conflicts are between the decided labels; copies remain copies when only one of
    them gets another label, because they still must not be on both sides of the split.
    """
    with threadpool_limits(1, "blas"):  # of many small products, several threads would only wait for one another
        return _find(records, images, tolerance, applied or undecided(records))


def _find(records: Sequence[Record], images: npt.NDArray[np.uint8], tolerance: int, applied: Applied) -> Copies:
    used = ~applied.excluded
    names = [record.label for record in [*records, *applied.records]]
    given, labels = np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(2, -1)
    exact = np.unique([record.sha256 for record in records], return_inverse=True)[1].astype(np.int64)
    labelled = np.unique(np.stack([exact, labels])[:, used], axis=1)
    conflicts = (np.bincount(labelled[0], minlength=len(exact)) > 1)[exact] & used
    clusters = exact
    if tolerance:
        thumbnails = Thumbnails(images)
        detailed = np.array([min(record.width, record.height) >= DETAIL for record in records], dtype=np.bool_)
        rows = np.flatnonzero(detailed & thumbnails.textured)
        if not len(rows):
            return Copies(exact, clusters, conflicts)
        details = Details(thumbnails, rows)
        hashes = np.array([int(records[row].phash, 16) for row in rows.tolist()], dtype=np.uint64)
        # Normalised thumbnails with correlation c have distance sqrt(2 - 2c), and their projections at most that.
        distance = float(np.sqrt(2 - 2 * SURE)) * 1.01  # tolerance for rounding
        by_hash = zip(pairs.near_hashes(hashes, tolerance), repeat(ALIKE))
        by_pixels = zip(pairs.near_projections(thumbnails.shadows(rows), distance), repeat(SURE))
        for (first, second), least in chain(by_hash, by_pixels):
            first, second = rows[first], rows[second]
            # Images that are already connected and have the same class need no comparison, so a burst of a thousand
            # images does not need a million.
            news = (clusters[first] != clusters[second]) | (labels[first] != labels[second])
            first, second = first[news], second[news]
            alike = thumbnails.correlation(first, second) >= least
            first, second = first[alike], second[alike]
            same = (labels[first] == labels[second]) | (given[first] == given[second])
            remain = details.alike(first, second, np.where(same, REMAINS, ACROSS))
            first, second = first[remain], second[remain]
            clusters = connect(clusters, clusters[first], clusters[second])
            differ = (labels[first] != labels[second]) & used[first] & used[second]
            conflicts[first[differ]] = conflicts[second[differ]] = True
        clusters = _take_families_apart(clusters, exact, given, thumbnails)
    return Copies(exact, clusters, conflicts)


def _take_families_apart(clusters: Rows, exact: Rows, labels: Rows, thumbnails: Thumbnails) -> Rows:
    """Return `clusters` with each family divided into groups of similar images.

    Each image, with its own copies, joins the most similar one of several representatives that differ from one another.
    """
    result, class_sizes = clusters.copy(), np.bincount(labels)
    for cluster in np.flatnonzero(np.bincount(clusters) >= FAMILY):
        rows = np.flatnonzero(clusters == cluster)
        share = (np.bincount(labels[rows], minlength=len(class_sizes)) / class_sizes).max()
        if share > FAMILY_SHARE and thumbnails.copies_share(rows, DEVIATION) < COPIES_SHARE:
            result[rows] = result.max() + 1 + Details(thumbnails, rows).nearest_leaders(rows, REMAINS)
    if (result == clusters).all():
        return clusters
    numbers: Rows = np.unique(result, return_inverse=True)[1].astype(np.int64)
    first = np.unique(exact, return_index=True)[1][np.unique(exact, return_inverse=True)[1]]
    return connect(numbers, numbers[first], numbers)


def connect(numbers: Rows, left: Rows, right: Rows) -> Rows:
    """Return `numbers` after merging those that are connected by the edges from `left` to `right`.

    numbers: shape (N,), from 0. left, right: shape (edges,), among the numbers.
    """
    if not len(left):
        return numbers
    size = int(numbers.max()) + 1
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    joined: Rows = connected_components(graph, directed=False)[1].astype(np.int64)
    return joined[numbers]
