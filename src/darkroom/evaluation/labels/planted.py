"""Planted label errors: what a check of labels finds of errors that are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from darkroom.evaluation.labels.confident import Issue, Labels, Scores

SHARE = 0.05
"""Share of the labels that are changed."""
TRIALS = 4


@dataclass(frozen=True)
class Planted:
    """Labels of which some were changed."""

    labels: Labels
    changed: npt.NDArray[np.bool_]
    """Shape (N,)."""


@dataclass(frozen=True)
class Found:
    """What the lists of all trials contain, as means over the trials."""

    images: int
    """Number of changed labels per trial."""
    precision: float
    """Share of changed labels among the first images of a list, as many as were changed."""
    precision_half: float
    """The same among half as many."""
    expected: float
    """Expected precision of the first images of a list, as many as were changed."""
    recall: float
    """Share of the changed labels that are anywhere in a list."""


def plant(labels: Labels, scores: Scores, known: npt.NDArray[np.bool_], seed: int) -> list[Planted]:
    """Return the labels with `SHARE` of them changed at random, `TRIALS` times.

    Half of them become any other class, half the class that the scores confuse most with the given one, since real
    errors are mostly between similar classes. scores: shape (N, classes). Only labels of `known` images are changed.
    """
    classes = scores.shape[1]
    confused = np.zeros((classes, classes))
    np.add.at(confused, labels, scores.astype(np.float64))
    np.fill_diagonal(confused, -np.inf)
    nearest = confused.argmax(axis=1)
    result = []
    for trial in range(TRIALS):
        generator = np.random.default_rng([seed, trial])
        available = np.flatnonzero(known)
        rows = generator.permutation(available)[: max(1, round(SHARE * len(available)))]
        changed = labels.copy()
        changed[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
        similar = rows[: len(rows) // 2]
        changed[similar] = nearest[labels[similar]]
        result.append(Planted(changed, changed != labels))
    return result


def compare(planted: Sequence[Planted], lists: Sequence[Sequence[Issue]]) -> Found:
    """Return what the list of each trial contains of its changed labels."""
    rows = []
    for each, listed in zip(planted, lists, strict=True):
        count = int(each.changed.sum())
        right = np.array([each.changed[issue.row] for issue in listed[:count]], dtype=np.float64)
        recall = sum(bool(each.changed[issue.row]) for issue in listed) / count
        expected = [issue.precision for issue in listed[:count]]
        half = right[: max(1, count // 2)]
        rows.append([count, _mean(right), _mean(half), _mean(np.array(expected)), recall])
    count, *shares = np.mean(rows, axis=0)
    return Found(round(float(count)), *(round(float(share), 4) for share in shares))


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0
