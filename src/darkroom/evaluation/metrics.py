"""What predictions are worth: scores of a split, and of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from darkroom.evaluation.calibration import calibration_error, reliability


@dataclass(frozen=True)
class Scores:
    """How good the predictions for one split are."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """Wilson's 95% interval of the accuracy."""
    macro_precision: float
    macro_recall: float
    """Mean recall of the classes, also called balanced accuracy."""
    macro_f1: float
    log_loss: float
    """Mean negative log-probability of the true class, in nats, calibrated."""
    ece: float
    """Expected calibration error, 0 to 1, calibrated."""


@dataclass(frozen=True)
class WithoutLeaks:
    """How often the predictions are right for the test images of which the source gives no copy elsewhere."""

    leaks: int
    """Test images that are not counted here."""
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """Wilson's 95% interval of the accuracy."""


@dataclass(frozen=True)
class ClassScores:
    """How good the predictions for one class are; None throughout where the split has no image of it."""

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


def score(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Scores:
    """Score one split; macro averages run over the classes that it has images of.

    probabilities: shape (rows, classes), rows at least 1. labels: shape (rows,), 0 to classes - 1.
    """
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    low, high = accuracy_interval(right, len(labels))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    # The smallest probability that float32 logits can tell from 0 bounds the price of one sure mistake.
    given = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
    return Scores(
        accuracy=right / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        macro_precision=float(precision),
        macro_recall=float(recall),
        macro_f1=float(f1),
        log_loss=float(-np.log(given).mean()),
        ece=calibration_error(reliability(probabilities, labels)),
    )


def score_without_leaks(
    predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], leaks: npt.NDArray[np.bool_]
) -> WithoutLeaks | None:
    """Score the test images that are no leaks; None where all are, or none is, so that there is nothing to add.

    predicted, labels, leaks: shape (rows,).
    """
    right = (predicted == labels)[~leaks]
    if leaks.all() or not leaks.any():
        return None
    return WithoutLeaks(int(leaks.sum()), float(right.mean()), *accuracy_interval(int(right.sum()), len(right)))


def score_classes(
    predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[ClassScores]:
    """Return the scores of each class in the order of `classes`.

    predicted, labels: shape (rows,), positions in `classes`.
    """
    columns = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), average=None, zero_division=0
    )
    return [
        ClassScores(name, int(support), float(precision), float(recall), float(f1))
        if support
        else ClassScores(name, 0, None, None, None)
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95% interval (Probable Inference, 1927) of a share: sound for few rows and for 100%."""
    interval = binomtest(right, total).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
