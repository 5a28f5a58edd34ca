"""Macro recall and macro F1: their 95% intervals, and their values in resamples."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from darkroom.evaluation.scores.intervals import Bootstrap, Interval, effective_rows, wilson_interval

PRIOR = 2.0
"""Weight in images of the prior that each class behaves like the mean over the classes: without it, a class of a few
correct images would have no variance."""
LEAST = 5
"""Macro F1 has no interval if half of the classes have fewer test images: it is biased by more than the interval."""

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def macro_intervals(predicted: Labels, labels: Labels, classes: int) -> dict[str, Interval]:
    """Return the intervals of `macro_recall` and, with enough images per class, `macro_f1`.

    predicted, labels: shape (rows,), 0 to classes - 1. Each is Wilson's interval for as many rows as give a proportion
    the same variance. The variance is that of stratified sampling, with the number of images of each class fixed: for
    macro F1 by the delta method, for both with the class's rates shrunk to the mean (`PRIOR`). docs/evaluation.md gives
    the coverage in simulated test splits.
    """
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, predicted), 1)
    support = matrix.sum(axis=1)
    present = support > 0
    matrix, support = matrix[present], support[present]
    count = len(support)
    own = np.flatnonzero(present)  # the column of each row's own class
    diagonal = (np.arange(count), own)
    recall = float((matrix[diagonal] / support).mean())
    rates = _shrunk(matrix, support, diagonal, recall)
    effective = effective_rows(labels)
    variance = float((rates[diagonal] * (1 - rates[diagonal]) / support).sum()) / count**2
    found = {"macro_recall": _interval(recall, variance, effective)}
    if np.median(support) >= LEAST:
        answers = matrix.sum(axis=0)[own]
        f1 = float((2 * matrix[diagonal] / (support + answers)).mean())
        found["macro_f1"] = _interval(f1, _f1_variance(rates, support, own), effective)
    return found


def _shrunk(matrix: Floats, support: Floats, diagonal: tuple[Labels, Labels], recall: float) -> Floats:
    """Return the rates of each class's predictions, shape (classes present, classes).

    The prior has the mean `recall`; its mistakes are distributed like the images of the other classes.
    """
    share = np.zeros(matrix.shape[1])
    share[diagonal[1]] = support
    mistakes = np.tile(share, (len(matrix), 1))
    mistakes[diagonal] = 0
    prior = mistakes / np.maximum(mistakes.sum(axis=1, keepdims=True), 1) * (1 - recall)
    prior[diagonal] = recall
    weights = matrix + PRIOR * prior
    rates: Floats = weights / weights.sum(axis=1, keepdims=True)
    return rates


def _f1_variance(rates: Floats, support: Floats, own: Labels) -> float:
    """Return the variance of macro F1 by the delta method, for `support` images of each class with these `rates`."""
    expected = rates * support[:, np.newaxis]
    rows = np.arange(len(support))
    total = np.zeros(rates.shape[1])
    total[own] = support + expected.sum(axis=0)[own]
    true = np.zeros(rates.shape[1])
    true[own] = expected[rows, own]
    # Derivative of the sum of the F1 by the number of images of a class (row) that are predicted as another (column).
    slope = np.tile(-2 * true / np.maximum(total, 1) ** 2, (len(support), 1))
    slope[rows, own] += 2 / total[own]
    middle = (rates * slope).sum(axis=1, keepdims=True)
    spread = (rates * (slope - middle) ** 2).sum(axis=1)
    return float((support * spread).sum()) / len(support) ** 2


def _interval(value: float, variance: float, perfect: int) -> Interval:
    """Return Wilson's interval of a mean over classes; `perfect` rows if it is 0 or 1, which has no variance."""
    if not 0 < value < 1:
        return wilson_interval(value, perfect)
    return wilson_interval(value, value * (1 - value) / variance)


def macro_draws(predicted: Labels, labels: Labels, classes: int, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Return macro recall and macro F1 of each resample, shape (draws,) each, over the classes in it."""
    rows = len(labels)
    every, ones = np.arange(rows), np.ones(rows)
    # Columns: correct predictions, images and predictions, each by class.
    values = np.concatenate([predicted == labels, ones, ones])
    places = np.concatenate([labels, classes + labels, 2 * classes + predicted])
    sums = bootstrap.sums(csc_array((values, (np.tile(every, 3), places)), shape=(rows, 3 * classes)))
    true, support, answers = (sums[:, part * classes : (part + 1) * classes] for part in range(3))
    present = support > 0
    count = present.sum(axis=1)
    recall = np.where(present, true / np.maximum(support, 1), 0).sum(axis=1) / count
    f1 = np.where(present, 2 * true / np.maximum(support + answers, 1), 0).sum(axis=1) / count
    return recall, f1
