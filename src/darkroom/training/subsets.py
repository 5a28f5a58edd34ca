"""Predictions of linear probes that were fitted to subsets of the images: the raw material of learning curves.

The probe is ridge regression on the principal components of fixed features, in which all classes have equal weight,
however many images they have: otherwise more images of a class would mostly shift the bias towards it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import linalg

from darkroom.training import held_out
from darkroom.training.held_out import AT_ONCE, PENALTIES, WAIT, Features, Floats, Folds, Labels

COMPONENTS = 128
"""Largest number of principal components: with more, the probes hardly improve and take much longer."""

MOST, LIMIT = 10_000, 5_000_000
"""Largest number of images, and of images times classes; a random selection otherwise, to bound the time."""

Mask = npt.NDArray[np.bool_]


class Probes:
    """Probes of one division into folds, for any subsets of the images."""

    def __init__(self, features: Features, labels: Labels, folds: Folds, classes: int) -> None:
        """Reduce `features`, shape (N, values), and choose the penalty. labels, folds: shape (N,)."""
        self._data = components(features)
        self._labels, self._folds, self._classes = labels, folds, classes
        self._rows = [
            [np.flatnonzero((labels == label) & (folds != fold)) for label in range(classes)]
            for fold in range(int(folds.max()) + 1)
        ]
        self._means = [np.stack([self._mean(rows) for rows in of_fold], axis=1) for of_fold in self._rows]
        self._counts = [np.array([len(rows) for rows in of_fold]) for of_fold in self._rows]
        self._sums = [np.sum([self._second_moment(rows) for rows in of_fold], axis=0) for of_fold in self._rows]
        self.penalty = self._search()

    def predict(self, chosen: Mask, changed: Sequence[int] | None = None) -> Labels:
        """Return the class predicted for each image by the probe fitted to the `chosen` images of the other folds.

        chosen: shape (N,); changed: the classes of which not all images are chosen, all classes by default.
        A class without training images is never predicted.
        """
        result = np.empty(len(self._labels), dtype=np.int64)
        for fold in range(len(self._rows)):
            held = np.flatnonzero(self._folds == fold)
            result[held] = self._scores(fold, held, chosen, changed, self.penalty).argmax(axis=1)
        return result

    def _scores(self, fold: int, held: Labels, chosen: Mask, changed: Sequence[int] | None, penalty: float) -> Floats:
        """Return the regression of the one-hot labels of the images `held`, shape (held, classes)."""
        means, counts = self._means[fold].copy(), self._counts[fold].copy()
        matrix = self._sums[fold].copy()
        for label in range(self._classes) if changed is None else changed:
            rows = self._rows[fold][label]
            kept = rows[chosen[rows]]
            means[:, label], counts[label] = self._mean(kept), len(kept)
            matrix += self._second_moment(kept) - self._second_moment(rows)
        there = np.flatnonzero(counts)
        means = means[:, there]
        centre = means.mean(axis=1, keepdims=True)
        matrix = matrix / np.float32(len(there)) - centre @ centre.T
        matrix.flat[:: len(matrix) + 1] += np.float32(penalty)
        weights = linalg.solve(matrix, means - centre, assume_a="pos", overwrite_a=True, check_finite=False)
        result = np.full((len(held), self._classes), -np.inf, dtype=np.float32)
        result[:, there] = (self._data[held] - centre.T) @ weights
        return result

    def _mean(self, rows: Labels) -> Floats:
        result: Floats = self._data[rows].sum(axis=0) / np.float32(max(1, len(rows)))
        return result

    def _second_moment(self, rows: Labels) -> Floats:
        data = self._data[rows]
        result: Floats = data.T @ data / np.float32(max(1, len(rows)))
        return result

    def _search(self) -> float:
        """Return the penalty with the lowest squared error, in which the classes have equal weight."""
        everything = np.ones(len(self._labels), dtype=np.bool_)
        targets = held_out.one_hot(self._labels, self._classes)
        weights = 1 / np.bincount(self._labels, minlength=self._classes).clip(1)[self._labels]
        best, least, waited = PENALTIES[0], np.inf, 0
        for penalty in PENALTIES:
            error = 0.0
            for fold in range(len(self._rows)):
                held = np.flatnonzero(self._folds == fold)
                scores = self._scores(fold, held, everything, (), penalty)
                there = np.isfinite(scores[0])
                scores = scores[:, there] / np.float32(there.sum()) + np.float32(1 / there.sum())
                error += float((((scores - targets[held][:, there]) ** 2).sum(axis=1) * weights[held]).sum())
            waited += 1
            if error < least:
                best, least, waited = penalty, error, 0
            if waited == WAIT:
                break
        return best


def choose(groups: Labels, classes: int, seed: int) -> Labels:
    """Return the rows to measure, ascending: all, or those of random groups. groups: shape (N,)."""
    most = min(MOST, LIMIT // classes)
    if len(groups) <= most:
        return np.arange(len(groups))
    _, places = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(places.max()) + 1)
    sizes = np.bincount(places)[order]
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[order[np.cumsum(sizes) <= most]] = True
    return np.flatnonzero(kept[places])


def components(features: Features, most: int = COMPONENTS) -> Floats:
    """Return the first principal components of scaled features, shape (N, at most `most`)."""
    data = held_out.scaled(features)
    count, values = features.shape
    parts = [np.arange(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]
    if values <= count:
        gram = np.zeros((values, values), dtype=np.float32)
        for part in parts:
            block = data.take(part)
            gram += block.T @ block
        directions = _leading(gram, most)[1]
        return np.concatenate([data.take(part) @ directions for part in parts])
    whole = data.take(np.arange(count))
    lengths, vectors = _leading(whole @ whole.T, most)
    result: Floats = vectors * np.sqrt(lengths.clip(0))
    return result


def _leading(gram: Floats, most: int) -> tuple[Floats, Floats]:
    """Return the largest eigenvalues of a symmetric matrix, and their eigenvectors as columns."""
    size = len(gram)
    lengths, vectors = linalg.eigh(gram, subset_by_index=(max(0, size - most), size - 1))
    return lengths, vectors
