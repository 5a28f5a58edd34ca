"""Images of one scene: other crops, other views and the shots of a burst, which are not copies of one another.

Candidates are neighbours by a descriptor of the whole image, also of its mirror image. They are confirmed by aligning
both images and comparing their details. Images taken or numbered one after the other need less similarity. Only images
of one class are joined: another view in another class does not reveal the label.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from darkroom.data.split import bursts
from darkroom.data.split.alignment import agreement
from darkroom.data.split.descriptors import SIDE, Descriptors, grey, shrunk
from darkroom.data.split.duplicates import FAMILY, FAMILY_SHARE, connect
from darkroom.data.split.thumbnails import Floats, Rows
from darkroom.packed import Record

SURE = 1.12
"""Minimum of similarity + `DETAILS` × agreement of two images of one scene. Measured by `benchmarks/scenes.py` on all
of CIFAR-10, see RESULTS.md: it finds 85% of the published pairs."""
DETAILS = 0.35
"""Weight of the agreement of the details. Weights from 0.25 to 1 do equally well."""
AGREEMENT = 0.95
"""Largest agreement that is expected; images too dissimilar to reach `SURE` with it are not aligned."""
TAKEN_ALIKE, NUMBERED_ALIKE = 0.4, 0.7
"""Minimum similarity of two images in a burst according to their EXIF data, and to their file names. Of 59,980 pairs of
CIFAR-10 with successive numbers, which mean nothing there, 28 exceed 0.7, 134 exceed 0.6 and 2,213 exceed 0.4."""
NEAREST = 5
"""Largest number of later images of its class that an image is compared with in detail, which bounds time."""
FLAT = 4.0
"""Minimum standard deviation of an image in grey levels."""
BLOCK, BATCH = 64, 256
"""Number of images whose neighbours are searched at once, and of pairs aligned at once, which bounds memory."""


def find(
    records: Sequence[Record],
    images: npt.NDArray[np.uint8],
    clusters: Rows,
    cameras: Sequence[str] = (),
    taken: Sequence[str] = (),
    least: float = SURE,
) -> Rows:
    """Return equal numbers for images of one scene, shape (N,), which include copies.

    records, and images of shape (N, S, S, 3), are the packed ones. Images that are smaller than `SIDE` pixels, when
    packed or before, are in no scene. clusters: equal numbers for copies, shape (N,). cameras, taken: the columns of
    `files.csv`, N items each or none. A scene that would be larger than `FAMILY` images and `FAMILY_SHARE` of its class
    is a family of similar objects in front of one background; only its copies and bursts stay together.
    Time grows with the square of the largest class, memory with N.
    """
    rows = _comparable(records, images)
    if len(rows) < 2:
        return clusters
    described = Descriptors(images, rows)
    joined = _join_bursts(records, described, rows, clusters, cameras, taken)
    labels = np.unique([record.label for record in records], return_inverse=True)[1]
    found = joined
    for first, second in _candidates(described, labels[rows], least - DETAILS * AGREEMENT):
        # Pairs that are already in one scene need no comparison, so a burst of a thousand does not need a million.
        apart = found[rows[first]] != found[rows[second]]
        first, second = first[apart], second[apart]
        same = score(described, images, rows, first, second, least) >= least
        first, second = rows[first[same]], rows[second[same]]
        found = connect(found, found[first], found[second])
    return _without_families(found, joined, labels)


def find_bursts(
    records: Sequence[Record],
    images: npt.NDArray[np.uint8],
    clusters: Rows,
    cameras: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> Rows:
    """Return equal numbers for images of one burst, shape (N,), which include copies; the arguments are as in `find`.

    Time grows with N only.
    """
    rows = _comparable(records, images)
    if len(rows) < 2:
        return clusters
    return _join_bursts(records, Descriptors(images, rows), rows, clusters, cameras, taken)


def score(
    described: Descriptors, images: npt.NDArray[np.uint8], rows: Rows, first: Rows, second: Rows, least: float = SURE
) -> Floats:
    """Return the score of pairs of described images, to be compared with `SURE`.

    Images are aligned only if their score is below `least` as they are.
    """
    left, right = described.upright[first], described.upright[second]
    upright = np.einsum("ij,ij->i", left, right)
    mirror = np.einsum("ij,ij->i", left, described.mirror[second])
    one, other = grey(shrunk(images[rows[first]])), grey(shrunk(images[rows[second]]))
    flipped = mirror > upright
    other[flipped] = other[flipped, :, ::-1]
    similarity = np.maximum(upright, mirror)
    result: Floats = similarity + np.float32(DETAILS) * agreement(one, other, aligned=False)
    open_ = np.flatnonzero(result < least)
    result[open_] = similarity[open_] + np.float32(DETAILS) * agreement(one[open_], other[open_])
    return result


def without(scenes: Rows, clusters: Rows, alone: npt.NDArray[np.bool_]) -> Rows:
    """Return `scenes` after taking out the images in `alone`, with their copies; all shapes (N,)."""
    if not alone.any():
        return scenes
    apart = np.isin(clusters, clusters[alone])
    numbers = np.where(apart, scenes.max() + 1 + clusters, scenes)
    result: Rows = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    return result


def _comparable(records: Sequence[Record], images: npt.NDArray[np.uint8]) -> Rows:
    """Return the rows of images that are large enough and not of one colour."""
    if images.shape[1] < SIDE:
        return np.empty(0, dtype=np.int64)
    rows = np.array([row for row, each in enumerate(records) if min(each.width, each.height) >= SIDE], dtype=np.int64)
    parts = (rows[begin : begin + BLOCK] for begin in range(0, len(rows), BLOCK))
    kept = [part[grey(shrunk(images[part])).std(axis=(1, 2)) >= FLAT] for part in parts]
    return np.concatenate(kept) if kept else rows


def _join_bursts(
    records: Sequence[Record],
    described: Descriptors,
    rows: Rows,
    clusters: Rows,
    cameras: Sequence[str],
    taken: Sequence[str],
) -> Rows:
    place = np.full(len(records), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    shots = bursts.shots(records, cameras, taken) if cameras else []
    for pairs, least in ((shots, TAKEN_ALIKE), (bursts.numbered(records), NUMBERED_ALIKE)):
        first, second = place[np.array(pairs, dtype=np.int64).reshape(-1, 2)].T
        known = (first >= 0) & (second >= 0)
        first, second = first[known], second[known]
        alike = described.similarity(first, second) >= least
        first, second = rows[first[alike]], rows[second[alike]]
        clusters = connect(clusters, clusters[first], clusters[second])
    return clusters


def _candidates(described: Descriptors, labels: Rows, least: float) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of similar images of one class, most similar first, at most `BATCH` at once."""
    firsts, seconds, scores = [], [], []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        upright, mirror = described.upright[members], described.mirror[members]
        for begin in range(0, len(members), BLOCK):
            likeness = upright[begin : begin + BLOCK] @ upright[begin:].T
            np.maximum(likeness, upright[begin : begin + BLOCK] @ mirror[begin:].T, out=likeness)
            first, second = np.divmod(np.flatnonzero(likeness >= least), likeness.shape[1])
            later = first < second
            first, second = first[later], second[later]
            values = likeness[first, second]
            order = np.lexsort((second, -values, first))
            first, second, values = first[order], second[order], values[order]
            rank = np.arange(len(first)) - np.searchsorted(first, first)
            near = rank < NEAREST
            firsts.append(members[begin + first[near]])
            seconds.append(members[begin + second[near]])
            scores.append(values[near])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    for begin in range(0, len(order), BATCH):
        part = order[begin : begin + BATCH]
        yield first[part], second[part]


def _without_families(found: Rows, before: Rows, labels: Rows) -> Rows:
    """Return `found` with the numbers of `before` in scenes that are too large to be one."""
    sizes = np.bincount(labels)
    result = found.copy()
    for scene in np.flatnonzero(np.bincount(found) > FAMILY):
        rows = np.flatnonzero(found == scene)
        if len(np.unique(before[rows])) > 1 and len(rows) > FAMILY_SHARE * sizes[labels[rows]].max():
            result[rows] = found.max() + 1 + before[rows]
    numbers: Rows = np.unique(result, return_inverse=True)[1].astype(np.int64)
    return numbers
