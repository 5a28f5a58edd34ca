"""Out-of-fold scores of every image: repeated cross-validation of a linear probe on fixed features.

The probe is ridge regression on one-hot labels. Its fit has a closed form, in which labels are only the right-hand
side: several labellings of the same images cost little more than one, and one pass over the features serves all folds.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import linalg
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

FOLDS, REPEATS = 5, 3
PENALTIES = tuple(float(f"{10**exponent:.1g}") for exponent in np.arange(1, -4.1, -0.5))
"""L2 penalties to try, the strongest first, relative to the mean squared length of the scaled features."""
WAIT = 2
"""Number of penalties without improvement after which the search stops."""
MANY_GROUPS = 10_000
"""Number of groups from which on folds are stratified by groups: scikit-learn balances images in a loop over groups."""
AT_ONCE = 4096
"""Images whose features are in memory as float32 at the same time."""

Floats = npt.NDArray[np.float32]
Features = npt.NDArray[np.float16]
Labels = npt.NDArray[np.int64]
Folds = npt.NDArray[np.int64]
"""The fold in which each image is held out, shape (N,)."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of images by probes that were fitted without them and without the other images of their groups."""

    scores: Floats
    """Regression of the one-hot labels, shape (N, classes), means over the repetitions; they sum to 1."""
    known: npt.NDArray[np.bool_]
    """Whether every probe of an image was fitted to other images with its label, shape (N,)."""
    penalty: float
    error: float
    """Mean squared error of the scores, with which features are compared."""


Plan = Callable[[HeldOut], Sequence[Labels]]
"""Other labellings of the same images, chosen by the scores of the first division."""


def cross_validate(
    features: Features,
    labels: Labels,
    groups: Labels,
    classes: int,
    seed: int,
    plan: Plan | None = None,
    repeats: int = REPEATS,
) -> list[HeldOut]:
    """Return the scores for `labels`, and for each labelling of `plan`: means over `repeats` divisions into folds.

    features: shape (N, values); labels, groups: shape (N,). The penalty has the lowest error for `labels` in the first
    division, and is used for all. An empty list if fewer than two groups or classes are left to compare.
    """
    first = divide(labels, groups, seed)
    if first is None or classes < 2:
        return []
    data = scaled(features)
    probe = Probe(data, first)
    result = [_search(probe, one_hot(labels, classes), known(labels, first))]
    labellings = [labels, *(plan(result[0]) if plan else ())]
    targets = np.concatenate([one_hot(each, classes) for each in labellings], axis=1)
    penalty, sums = result[0].penalty, np.zeros_like(targets)
    everywhere = np.ones((len(labellings), len(labels)), dtype=np.bool_)
    for repeat in range(repeats):
        folds = divide(labels, groups, seed + repeat)
        assert folds is not None
        probe = Probe(data, folds) if repeat else probe
        sums += probe.scores(targets, penalty)
        everywhere &= np.stack([known(each, folds) for each in labellings])
    means: list[Floats] = np.split(sums / np.float32(repeats), len(labellings), axis=1)
    return [replace(result[0], scores=scores, known=there) for scores, there in zip(means, everywhere, strict=True)]


def predict(
    labels: Labels, features: Features, groups: Labels, held: npt.NDArray[np.bool_], classes: int, seed: int
) -> Labels | None:
    """Return the classes of the images in `held` by a probe that is fitted to the others, with their `labels`.

    features: shape (N, values); all others: shape (N,). The penalty has the lowest error in cross-validation among the
    images that the probe is fitted to. None if they are too few for that.
    """
    used = ~held
    searched = cross_validate(features[used], labels[used], groups[used], classes, seed, repeats=1)
    if not searched:
        return None
    probe = Probe(scaled(features), used.astype(np.int64))  # fold 0: the images in `held`
    predicted: Labels = probe.scores(one_hot(labels, classes), searched[0].penalty)[held].argmax(axis=1)
    return predicted


def _search(probe: "Probe", targets: Floats, there: npt.NDArray[np.bool_]) -> HeldOut:
    """Return the scores with the penalty that gives the lowest error."""
    best: HeldOut | None = None
    waited = 0
    for penalty in PENALTIES:
        scores = probe.scores(targets, penalty)
        error, waited = float(((scores - targets) ** 2).sum(axis=1).mean()), waited + 1
        if best is None or error < best.error:
            best, waited = HeldOut(scores, there, penalty, error), 0
        if waited == WAIT:
            break
    assert best is not None
    return best


def divide(labels: Labels, groups: Labels, seed: int) -> Folds | None:
    """Return up to `FOLDS` stratified folds that keep groups together; None if there are fewer than two groups.

    labels, groups: shape (N,). A class with few groups may be absent from a fold or from the others.
    """
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    count = min(FOLDS, len(first))
    if count < 2:
        return None
    result = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        if np.bincount(labels[first]).max() < count:  # scikit-learn refuses if no class fills the folds
            result = np.random.default_rng(seed).permutation(len(first))[place] % count
        elif len(first) <= MANY_GROUPS and len(first) < len(labels):
            divider = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
            for number, (_, held) in enumerate(divider.split(labels, labels, groups)):
                result[held] = number
        else:
            of_group = np.empty(len(first), dtype=np.int64)
            for number, (_, held) in enumerate(
                StratifiedKFold(count, shuffle=True, random_state=seed).split(first, labels[first])
            ):
                of_group[held] = number
            result = of_group[place]
    used, result = np.unique(result, return_inverse=True)  # large groups may leave folds empty
    return result.astype(np.int64) if len(used) > 1 else None


def known(labels: Labels, folds: Folds) -> npt.NDArray[np.bool_]:
    """Return whether other folds contain images of an image's class, shape (N,): otherwise no probe knows the class."""
    counts = np.zeros((int(labels.max()) + 1, int(folds.max()) + 1), dtype=np.int64)
    np.add.at(counts, (labels, folds), 1)
    elsewhere: npt.NDArray[np.bool_] = (counts.sum(axis=1, keepdims=True) - counts > 0)[labels, folds]
    return elsewhere


def one_hot(labels: Labels, classes: int) -> Floats:
    """Return targets of shape (N, classes)."""
    targets = np.zeros((len(labels), classes), dtype=np.float32)
    targets[np.arange(len(labels)), labels] = 1
    return targets


@dataclass(frozen=True)
class Scaled:
    """Features with mean 0, deviation 1 and a mean squared length of 1; labels play no part."""

    features: Features
    """Shape (N, values)."""
    centre: Floats
    factor: Floats

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Return the scaled features of `rows`, shape (rows, values)."""
        return (self.features[rows].astype(np.float32) - self.centre) * self.factor


def scaled(features: Features) -> Scaled:
    """Return features whose deviation is 1, or less if it is below a tenth of the mean one."""
    parts = [features[start : start + AT_ONCE] for start in range(0, len(features), AT_ONCE)]  # views
    centre = np.sum([part.sum(axis=0, dtype=np.float64) for part in parts], axis=0) / len(features)
    squares = np.sum([((part - centre) ** 2).sum(axis=0) for part in parts], axis=0)
    spread = np.sqrt(squares / len(features))
    spread = np.maximum(spread, max(float(spread.mean()) / 10, 1e-6))
    factor = 1 / (spread * np.sqrt(features.shape[1]))
    return Scaled(features, centre.astype(np.float32), factor.astype(np.float32))


class Probe:
    """Probes of one division into folds, for any penalties and labels."""

    def __init__(self, data: Scaled, folds: Folds) -> None:
        self._data, self._folds = data, folds
        self._rows = [np.flatnonzero(folds == number) for number in range(int(folds.max()) + 1)]
        values = data.features.shape[1]
        self._dual = values > len(folds)
        if self._dual:  # the smaller of the two symmetric matrices
            whole = data.take(np.arange(len(folds)))
            self._gram: Floats = whole @ whole.T
        else:
            self._grams = [np.zeros((values, values), np.float32) for _ in self._rows]
            for gram, rows in zip(self._grams, self._rows, strict=True):
                for part in _parts(rows):
                    block = data.take(part)
                    gram += block.T @ block
            self._gram = np.sum(self._grams, axis=0)

    def scores(self, targets: Floats, penalty: float) -> Floats:
        """Return the regression of `targets`, shape (N, M), for each image by the probe fitted without its fold."""
        result = np.empty_like(targets)
        for number, held in enumerate(self._rows):
            rows = np.flatnonzero(self._folds != number)
            mean = targets[rows].mean(axis=0)
            if self._dual:
                matrix = self._gram[np.ix_(rows, rows)]
                weights = _solve(matrix, targets[rows] - mean, penalty * len(rows))
                result[held] = self._gram[np.ix_(held, rows)] @ weights + mean
                continue
            sums = np.zeros((len(self._gram), targets.shape[1]), np.float32)
            for part in _parts(rows):
                sums += self._data.take(part).T @ (targets[part] - mean)
            weights = _solve(self._gram - self._grams[number], sums, penalty * len(rows))
            for part in _parts(held):
                result[part] = self._data.take(part) @ weights + mean
        return result


def _parts(rows: npt.NDArray[np.int64]) -> Sequence[npt.NDArray[np.int64]]:
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]


def _solve(matrix: Floats, sums: Floats, penalty: float) -> Floats:
    matrix.flat[:: len(matrix) + 1] += np.float32(penalty)
    found: Floats = linalg.solve(matrix, sums, assume_a="pos", overwrite_a=True, check_finite=False)
    return found
