"""All scores of a candidate on the test split, with confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array
from sklearn.metrics import precision_recall_fscore_support

from darkroom.evaluation.scores.calibration import calibration_error, reliability
from darkroom.evaluation.scores.intervals import (
    Bootstrap,
    Interval,
    accuracy_interval,
    effective_rows,
    jackknife_interval,
    percentile_interval,
    unless_perfect,
)
from darkroom.evaluation.scores.macro import macro_intervals
from darkroom.evaluation.scores.metrics import Scores, brier_scores, log_losses, score
from darkroom.evaluation.scores.ranking import Ranking

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detailed(Scores):
    """All scores on the test split; None for those that are undefined for its classes."""

    weighted_precision: float
    """Mean over the classes, weighted by their number of images; the weighted recall is the accuracy."""
    weighted_f1: float
    kappa: float
    """Cohen's kappa, -1 to 1: agreement beyond that expected by chance from the class frequencies."""
    mcc: float
    """Multiclass Matthews correlation coefficient (Gorodkin, 2004), -1 to 1."""
    brier: float
    """Brier score (1950): mean squared distance of the calibrated probabilities from the one-hot labels, 0 to 2."""
    roc_auc: float | None
    """Area under the ROC curve, one-vs-rest, mean over the classes."""
    average_precision: float | None
    """Average precision, one-vs-rest, mean over the classes."""
    top_3: float | None
    """Top-3 accuracy; None for up to three classes."""
    top_5: float | None
    """Top-5 accuracy; None for up to five classes."""
    intervals: dict[str, Interval]
    """95% confidence intervals by name of the score."""


@dataclass(frozen=True)
class Uncalibrated:
    """Scores of the probabilities before calibration."""

    log_loss: float
    brier: float
    ece: float


def score_in_detail(
    probabilities: Floats, labels: Labels, rankings: Sequence[Ranking | None], bootstrap: Bootstrap
) -> Detailed:
    """Score the test split, with intervals.

    probabilities, labels: as for `score`; rankings: what `rank_classes` returns for them; `bootstrap` is over the
    same number of rows.
    """
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    basic = score(probabilities, labels)
    precision, _, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="weighted", zero_division=0
    )
    own = probabilities[np.arange(rows), labels][:, np.newaxis]
    # Among equally probable classes, the first ranks first, consistent with argmax.
    tied_before = (probabilities == own) & (np.arange(classes) < labels[:, np.newaxis])
    place = (probabilities > own).sum(axis=1) + tied_before.sum(axis=1)
    top_hits = {k: int((place < k).sum()) for k in (3, 5) if classes > k}
    intervals = score_intervals(probabilities, labels, rankings, bootstrap)
    intervals |= {f"top_{k}": accuracy_interval(hits, rows) for k, hits in top_hits.items()}
    kappa, mcc = _agreement(predicted, labels, classes)
    areas: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
    if ranked := [ranking for ranking in rankings if ranking is not None]:
        areas = {name: float(np.mean([getattr(ranking, name) for ranking in ranked])) for name in areas}
    return Detailed(
        **{field.name: getattr(basic, field.name) for field in fields(Scores)},
        weighted_precision=float(precision),
        weighted_f1=float(f1),
        kappa=kappa,
        mcc=mcc,
        brier=float(brier_scores(probabilities, labels).mean()),
        roc_auc=areas["roc_auc"],
        average_precision=areas["average_precision"],
        top_3=top_hits[3] / rows if 3 in top_hits else None,
        top_5=top_hits[5] / rows if 5 in top_hits else None,
        intervals=intervals,
    )


def score_intervals(
    probabilities: Floats, labels: Labels, rankings: Sequence[Ranking | None], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Return the 95% intervals of all scores that are not proportions, by name; arguments as for `score_in_detail`.

    Those of areas need at least two images of each class in the split, that of macro F1 more (`macro.LEAST`). The
    calibration error has no interval: resamples repeat rows, which biases their calibration error upwards.
    """
    classes = probabilities.shape[1]
    losses = np.column_stack([log_losses(probabilities, labels), brier_scores(probabilities, labels)])
    sums = bootstrap.sums(csc_array(losses)) / len(labels)
    intervals = macro_intervals(probabilities.argmax(axis=1), labels, classes)
    intervals |= {name: percentile_interval(sums[:, place]) for place, name in enumerate(("log_loss", "brier"))}
    ranked = [ranking for ranking in rankings if ranking is not None]
    counts = np.bincount(labels, minlength=classes)
    # From a single image, the variance cannot be estimated; the jackknife would return 0.
    estimable = not ((counts == 1) | (counts == len(labels) - 1)).any()
    for name in ("roc_auc", "average_precision") if ranked and estimable else ():
        value = float(np.mean([getattr(ranking, name) for ranking in ranked]))
        without = np.mean([getattr(ranking, f"{name}_without") for ranking in ranked], axis=0)
        intervals[name] = unless_perfect(jackknife_interval(value, without), effective_rows(labels))
    return intervals


def score_uncalibrated(probabilities: Floats, labels: Labels) -> Uncalibrated:
    """Score uncalibrated probabilities: shape (rows, classes), labels (rows,)."""
    return Uncalibrated(
        log_loss=float(log_losses(probabilities, labels).mean()),
        brier=float(brier_scores(probabilities, labels).mean()),
        ece=calibration_error(reliability(probabilities, labels)),
    )


def _agreement(predicted: Labels, labels: Labels, classes: int) -> tuple[float, float]:
    """Return Cohen's kappa and the Matthews correlation coefficient; 0 if they are undefined."""
    share = np.bincount(labels, minlength=classes) / len(labels)
    predicted_rate = np.bincount(predicted, minlength=classes) / len(labels)
    beyond = float((predicted == labels).mean() - share @ predicted_rate)
    chance, spread = (
        float(1 - share @ predicted_rate),
        float((1 - share @ share) * (1 - predicted_rate @ predicted_rate)),
    )
    return beyond / chance if chance > 1e-12 else 0.0, beyond / spread**0.5 if spread > 1e-12 else 0.0
