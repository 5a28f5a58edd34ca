"""Mistakes of the best candidate: confused classes and confident mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Test images of one class that were classified as another."""

    actual: str
    predicted: str
    count: int
    rate: float
    """Share of the actual class's test images."""


@dataclass(frozen=True)
class Disagreement:
    """An image on which the candidate and the label disagree."""

    row: int
    """Row in the packed data."""
    label: str
    label_probability: float
    predicted: str
    predicted_probability: float


def confused(predicted: Labels, labels: Labels, classes: Sequence[str]) -> list[Pair]:
    """Return confused pairs of classes, the most frequent first; ties are broken by the higher rate.

    predicted, labels: shape (rows,), indices into `classes`.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(counts, 0)
    pairs = [
        Pair(classes[actual], classes[other], int(counts[actual, other]), float(rates[actual, other]))
        for actual, other in zip(*np.nonzero(counts), strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.rate, pair.actual, pair.predicted))


def mistakes(
    probabilities: Floats, labels: Labels, rows: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[Disagreement]:
    """Return all mistakes, the most confident first.

    probabilities: shape (rows, classes); labels: shape (rows,); rows: their packed rows.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    return [_disagreement(probabilities, labels, rows, classes, place, int(predicted[place])) for place in order]


def _disagreement(
    probabilities: Floats, labels: Labels, rows: Labels, classes: Sequence[str], place: int, predicted: int
) -> Disagreement:
    return Disagreement(
        int(rows[place]),
        classes[labels[place]],
        float(probabilities[place, labels[place]]),
        classes[predicted],
        float(probabilities[place, predicted]),
    )
