"""Where the best candidate fails: classes it confuses, mistakes it is sure of, and labels that may be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Test images of one class that were taken for another."""

    actual: str
    predicted: str
    count: int
    rate: float
    """Share of the actual class's test images."""


@dataclass(frozen=True)
class Disagreement:
    """One image on which the candidate and the label disagree."""

    row: int
    """In the packed data."""
    label: str
    label_probability: float
    predicted: str
    predicted_probability: float


def confused(predicted: Labels, labels: Labels, classes: Sequence[str]) -> list[Pair]:
    """Return the pairs that were confused, the most frequent first; of equals, the higher rate.

    predicted, labels: shape (rows,), positions in `classes`.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(counts, 0)
    pairs = [
        Pair(classes[actual], classes[taken], int(counts[actual, taken]), float(rates[actual, taken]))
        for actual, taken in zip(*np.nonzero(counts), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.rate, pair.actual, pair.predicted))


def mistakes(
    probabilities: Floats, labels: Labels, rows: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[Disagreement]:
    """Return every mistake, the one with the highest probability first.

    probabilities: shape (rows, classes); labels: shape (rows,); rows: their packed rows.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    return [_doubtful(probabilities, labels, rows, classes, place, int(predicted[place])) for place in order]


def label_issues(
    probabilities: Floats, labels: Labels, rows: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[Disagreement]:
    """Return the images whose label may be wrong, the one least like its label first: a person must look at them.

    Confident learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels,
    2021): a class is likely where its probability is at least what images of that label have on average; an image
    whose likeliest such class is not its label is an issue, ranked by the probability of its label. The
    probabilities must come from images that the model was not fitted to. Arguments as for `mistakes`.
    """
    counts = np.bincount(labels, minlength=len(classes))
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], len(classes))
    usual = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)  # nothing is likely to be an absent class
    likely = np.where(probabilities >= usual, probabilities, -1.0)
    better = likely.argmax(axis=1)
    issues = np.flatnonzero((likely.max(axis=1) > 0) & (better != labels))
    own = probabilities[issues, labels[issues]]
    return [
        _doubtful(probabilities, labels, rows, classes, place, int(better[place]))
        for place in issues[np.argsort(own, kind="stable")]
    ]


def _doubtful(
    probabilities: Floats, labels: Labels, rows: Labels, classes: Sequence[str], place: int, predicted: int
) -> Disagreement:
    return Disagreement(
        int(rows[place]),
        classes[labels[place]],
        float(probabilities[place, labels[place]]),
        classes[predicted],
        float(probabilities[place, predicted]),
    )
