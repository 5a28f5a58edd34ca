"""Scores of predictions: of a split and of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from darkroom.evaluation.scores.calibration import calibration_error, reliability
from darkroom.evaluation.scores.comparison import fisher, holm
from darkroom.evaluation.scores.intervals import accuracy_interval
from darkroom.evaluation.scores.ranking import Ranking

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Scores of the predictions for one split."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """Wilson's 95% interval of the accuracy."""
    macro_precision: float
    macro_recall: float
    """Mean recall over the classes, also called balanced accuracy."""
    macro_f1: float
    log_loss: float
    """Mean negative log-probability of the true class, in nats, calibrated."""
    ece: float
    """Expected calibration error, 0 to 1, calibrated."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of the predictions for one class; all None if the split has no images of it."""

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    """None also if the split has no images of other classes."""
    average_precision: float | None
    p_value: float | None
    """Of Fisher's exact test of the recall against that of all other images, with Holm's correction."""


def score(probabilities: Floats, labels: Labels) -> Scores:
    """Score one split; macro averages are over the classes present in it.

    probabilities: shape (rows, classes), rows at least 1. labels: shape (rows,), 0 to classes - 1.
    """
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    low, high = accuracy_interval(right, len(labels))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return Scores(
        accuracy=right / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        macro_precision=float(precision),
        macro_recall=float(recall),
        macro_f1=float(f1),
        log_loss=float(log_losses(probabilities, labels).mean()),
        ece=calibration_error(reliability(probabilities, labels)),
    )


def score_classes(
    predicted: Labels, labels: Labels, classes: Sequence[str], rankings: Sequence[Ranking | None]
) -> list[ClassScores]:
    """Return the scores of each class in the order of `classes`.

    predicted, labels: shape (rows,), positions in `classes`; rankings: what `rank_classes` returns.
    """
    columns = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), average=None, zero_division=0
    )
    return [
        ClassScores(
            name,
            int(support),
            float(precision) if support else None,
            float(recall) if support else None,
            float(f1) if support else None,
            ranking.roc_auc if ranking else None,
            ranking.average_precision if ranking else None,
            p_value,
        )
        for name, precision, recall, f1, support, ranking, p_value in zip(
            classes, *columns, rankings, _p_values(predicted == labels, labels, len(classes)), strict=True
        )
    ]


def _p_values(right: npt.NDArray[np.bool_], labels: Labels, classes: int) -> list[float | None]:
    """Return for each class whether its recall differs from that of the other images; None without any images."""
    support, hits = np.bincount(labels, minlength=classes), np.bincount(labels[right], minlength=classes)
    present = np.flatnonzero(support)
    tested = holm([fisher(hits[each], support[each], hits.sum(), support.sum()) for each in present])
    found: list[float | None] = [None] * classes
    for each, p_value in zip(present, tested, strict=True):
        found[each] = round(p_value, 6)
    return found


def log_losses(probabilities: Floats, labels: Labels) -> Floats:
    """Return the negative log-probability of each row's class, in nats, shape (rows,)."""
    # The smallest positive float32 bounds the loss of a single confident mistake.
    own = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
    losses: Floats = -np.log(own)
    return losses


def brier_scores(probabilities: Floats, labels: Labels) -> Floats:
    """Return the squared distance of each row's probabilities from its one-hot label, 0 to 2, shape (rows,)."""
    own = probabilities[np.arange(len(labels)), labels]
    scores: Floats = (probabilities**2).sum(axis=1) - 2 * own + 1
    return scores
