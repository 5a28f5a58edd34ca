"""A small index of training images by their features: the nearest ones to an image, and how similar they are.

Features are what a network computes before its last layer. An image far from all training images in this space is
probably out of distribution (Sun et al., Out-of-distribution Detection with Deep Nearest Neighbors, ICML 2022).

Features are scaled to unit length and projected to `VALUES` dimensions, so that an index of `MOST` images takes less
than 5 MB. Similarities are cosines, computed with one matrix product.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NAME = "neighbors.npz"
"""File of an index, in a candidate's folder and in the served one."""
MOST = 10_000
"""Largest number of training images in an index; of more, a stratified sample is indexed."""
K = 5
"""The score of an image is its similarity to the K-th nearest training image (benchmarks/RESULTS.md)."""
VALUES = 128
"""Dimensions of the projected features."""
SKETCH = 2_048
"""Longer features are first reduced to this many values, so that the projection stays small."""
ROWS = 256
"""Images whose similarities are computed at a time, 10 MB for the largest index."""

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """Training images by their features."""

    basis: npt.NDArray[np.float16]
    """Projection, shape (values, dimensions), with orthonormal columns."""
    vectors: npt.NDArray[np.float16]
    """Projected features of unit length before the projection, shape (images, dimensions)."""
    labels: Places
    """Class of each image, an index into the card's classes: int64, shape (images,)."""
    rows: Places
    """Packed row of each image: int64, shape (images,)."""
    names: list[str] = field(default_factory=list)
    """Name of each image in its archive; empty if names are not served, and in candidates."""

    def embed(self, features: npt.NDArray[Any]) -> Floats:
        """Return projected features, float32, shape (N, dimensions), for features of shape (N, values)."""
        embedded: Floats = reduce(features) @ self._basis
        return embedded

    def similarities(self, embedded: Floats) -> Floats:
        """Return the cosine similarity, -1 to 1, of each of N embedded images to each image: shape (N, images)."""
        found: Floats = embedded @ self._vectors
        return found

    def score(self, embedded: Floats, places: Places | None = None) -> Floats:
        """Return the similarity of each embedded image to its K-th nearest training image: float32, shape (N,).

        `places` are positions in the index of the images themselves, which are then not compared with themselves;
        -1 for images that are not in it. A smaller index is searched for its last image.
        """
        scores = np.empty(len(embedded), dtype=np.float32)
        for begin in range(0, len(embedded), ROWS):
            part = slice(begin, begin + ROWS)
            found = self.similarities(embedded[part])
            if places is not None:
                own = np.flatnonzero(places[part] >= 0)
                found[own, places[part][own]] = -np.inf
            count = min(K, found.shape[1] - (places is not None))
            scores[part] = np.partition(found, -count, axis=1)[:, -count] if count > 0 else -1.0
        return scores

    def nearest(self, embedded: Floats, count: int) -> tuple[Places, Floats]:
        """Return the `count` nearest images of each embedded one, the nearest first, and their similarities.

        Two arrays of shape (N, min(count, images)): positions in the index, and values from -1 to 1.
        """
        found = self.similarities(embedded)
        count = min(count, found.shape[1])
        # Sorting all similarities of 10,000 images would take 1.4 ms per image, this takes 0.5.
        chosen = np.sort(np.argpartition(-found, count - 1, axis=1)[:, :count], axis=1)
        values = np.take_along_axis(found, chosen, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        places = np.take_along_axis(chosen, order, axis=1).astype(np.int64)
        return places, np.take_along_axis(values, order, axis=1).clip(-1, 1)

    @cached_property
    def _basis(self) -> Floats:
        return self.basis.astype(np.float32)

    @cached_property
    def _vectors(self) -> Floats:
        return np.ascontiguousarray(self.vectors.T, dtype=np.float32)


def reduce(features: npt.NDArray[Any]) -> Floats:
    """Return features scaled to unit length, float32, shape (N, up to `SKETCH` values).

    Of more than `SKETCH` values, sums over pseudo-random groups with pseudo-random signs are taken (Charikar et al.,
    Finding Frequent Items in Data Streams, 2002), which approximately keep the angles. They depend only on the number
    of values.
    """
    rows = features.astype(np.float32)
    values = rows.shape[1]
    if values > SKETCH:
        order, signs = _groups(values)
        starts = np.arange(SKETCH) * values // SKETCH
        rows = np.add.reduceat(rows[:, order] * signs, starts, axis=1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.maximum(lengths, 1e-12)
    return scaled


@cache
def _groups(values: int) -> tuple[Places, Floats]:
    """Return the order in which features are grouped, and their signs in this order: shape (values,) each."""
    # SplitMix64 (Steele et al., 2014), because NumPy's generators may change between versions.
    hashes = np.arange(1, values + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    order = np.argsort(hashes, kind="stable")
    signs: Floats = np.where(hashes[order] & np.uint64(1), np.float32(-1), np.float32(1))
    return order, signs


def build(reduced: Floats, labels: Places, rows: Places) -> Index:
    """Return the index of training images with the `reduced` features, as from `reduce`.

    labels, rows: of these images, int64, shape (images,). The projection keeps the directions of the largest energy: a
    truncated singular value decomposition without centring, so that cosines are kept as well as possible.
    """
    wide = reduced.shape[0] < reduced.shape[1]  # then the matrix of the products of images is the smaller one
    products = (reduced @ reduced.T if wide else reduced.T @ reduced).astype(np.float64)
    energies, directions = np.linalg.eigh(products)  # in ascending order
    kept = np.flatnonzero(energies > 1e-6 * energies[-1])[-VALUES:]
    if wide:
        basis = (reduced.T @ directions[:, kept] / np.sqrt(energies[kept])).astype(np.float16)
    else:
        basis = directions[:, kept].astype(np.float16)
    return Index(basis, (reduced @ basis.astype(np.float32)).astype(np.float16), labels, rows)


def sample(labels: Places, most: int = MOST, seed: int = 0) -> Places:
    """Return up to `most` positions in `labels`, ascending, with the same fraction of each class; depends on `seed`.

    At least one image of each class is kept, if there are no more classes than `most`.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    shares = np.empty(len(labels))
    for label in np.unique(labels):
        own = order[labels[order] == label]
        shares[own] = np.arange(len(own)) / len(own)
    return np.sort(np.argsort(shares, kind="stable")[:most]).astype(np.int64)


def write(folder: Path, index: Index) -> None:
    """Write the index to a candidate's or served folder; equal indices give equal bytes."""
    names = np.frombuffer(json.dumps(index.names, ensure_ascii=False).encode(), dtype=np.uint8)
    arrays = {name: getattr(index, name) for name in ("basis", "vectors", "labels", "rows")}
    np.savez(folder / NAME, **arrays, names=names)


def read(folder: Path) -> Index | None:
    """Read the index of a folder; None if it has none."""
    path = folder / NAME
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        index = Index(**{name: arrays[name] for name in ("basis", "vectors", "labels", "rows")})
        return replace(index, names=json.loads(arrays["names"].tobytes()))
