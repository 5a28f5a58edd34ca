"""All that is said about a candidate's predictions for the test split, with intervals."""

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
from darkroom.evaluation.scores.metrics import Scores, brier_scores, log_losses, score
from darkroom.evaluation.scores.ranking import Ranking

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Detailed(Scores):
    """All that is said about the predictions for the test split; None is what the split or the classes lack."""

    weighted_precision: float
    """Mean over the classes, weighted by their images; the weighted recall is the accuracy."""
    weighted_f1: float
    kappa: float
    """Cohen's kappa, -1 to 1: agreement beyond what the frequencies of the classes bring by chance."""
    mcc: float
    """Matthews' correlation coefficient for many classes (Gorodkin, 2004), -1 to 1."""
    brier: float
    """Brier's score (1950): mean squared distance of the probabilities from the truth, 0 to 2, calibrated."""
    roc_auc: float | None
    """Area under the ROC curve, each class against the rest, mean over the classes."""
    average_precision: float | None
    """Average precision, each class against the rest, mean over the classes."""
    top_3: float | None
    """Share of the images whose class is among the three likeliest; None up to three classes."""
    top_5: float | None
    """The same of five."""
    intervals: dict[str, Interval]
    """95% intervals by name of the score."""


@dataclass(frozen=True)
class Uncalibrated:
    """What the probabilities are worth before calibration."""

    log_loss: float
    brier: float
    ece: float


def score_in_detail(
    probabilities: Floats, labels: Labels, rankings: Sequence[Ranking | None], bootstrap: Bootstrap
) -> Detailed:
    """Score the test split, with intervals.

    probabilities, labels: as for `score`; rankings: what `rank_classes` returns for them; `bootstrap` has as many
    rows.
    """
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    basic = score(probabilities, labels)
    precision, _, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="weighted", zero_division=0
    )
    given = probabilities[np.arange(rows), labels][:, np.newaxis]
    # Among equally likely classes the first counts first, as argmax has it.
    earlier = (probabilities == given) & (np.arange(classes) < labels[:, np.newaxis])
    place = (probabilities > given).sum(axis=1) + earlier.sum(axis=1)
    likeliest = {k: int((place < k).sum()) for k in (3, 5) if classes > k}
    intervals = score_intervals(probabilities, labels, rankings, bootstrap)
    intervals |= {f"top_{k}": accuracy_interval(hits, rows) for k, hits in likeliest.items()}
    kappa, mcc = _agreement(predicted, labels, classes)
    areas: dict[str, float | None] = {"roc_auc": None, "average_precision": None}
    if there := [ranking for ranking in rankings if ranking is not None]:
        areas = {name: float(np.mean([getattr(ranking, name) for ranking in there])) for name in areas}
    return Detailed(
        **{field.name: getattr(basic, field.name) for field in fields(Scores)},
        weighted_precision=float(precision),
        weighted_f1=float(f1),
        kappa=kappa,
        mcc=mcc,
        brier=float(brier_scores(probabilities, labels).mean()),
        roc_auc=areas["roc_auc"],
        average_precision=areas["average_precision"],
        top_3=likeliest[3] / rows if 3 in likeliest else None,
        top_5=likeliest[5] / rows if 5 in likeliest else None,
        intervals=intervals,
    )


def score_intervals(
    probabilities: Floats, labels: Labels, rankings: Sequence[Ranking | None], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Return the 95% intervals of the headline scores but shares, by name; arguments as for `score_in_detail`.

    Those of areas need two images of each class that has any. The calibration error has none: each resample repeats
    rows, which makes its own error larger than the sample's.
    """
    classes = probabilities.shape[1]
    losses = np.column_stack([log_losses(probabilities, labels), brier_scores(probabilities, labels)])
    intervals = _bootstrapped(probabilities.argmax(axis=1), labels, classes, losses, bootstrap)
    there = [ranking for ranking in rankings if ranking is not None]
    counts = np.bincount(labels, minlength=classes)
    # Of one image nobody can tell how much another would differ, and the jackknife would take it for no difference.
    told = not ((counts == 1) | (counts == len(labels) - 1)).any()
    for name in ("roc_auc", "average_precision") if there and told else ():
        value = float(np.mean([getattr(ranking, name) for ranking in there]))
        without = np.mean([getattr(ranking, f"{name}_without") for ranking in there], axis=0)
        intervals[name] = unless_perfect(jackknife_interval(value, without), effective_rows(labels))
    return intervals


def score_uncalibrated(probabilities: Floats, labels: Labels) -> Uncalibrated:
    """Score the probabilities that the logits give as they are: shape (rows, classes), labels (rows,)."""
    return Uncalibrated(
        log_loss=float(log_losses(probabilities, labels).mean()),
        brier=float(brier_scores(probabilities, labels).mean()),
        ece=calibration_error(reliability(probabilities, labels)),
    )


def _agreement(predicted: Labels, labels: Labels, classes: int) -> tuple[float, float]:
    """Return Cohen's kappa and Matthews' coefficient; 0 where all rows agree on one class, which proves nothing."""
    share = np.bincount(labels, minlength=classes) / len(labels)
    taken = np.bincount(predicted, minlength=classes) / len(labels)
    beyond = float((predicted == labels).mean() - share @ taken)
    chance, spread = float(1 - share @ taken), float((1 - share @ share) * (1 - taken @ taken))
    return beyond / chance if chance > 1e-12 else 0.0, beyond / spread**0.5 if spread > 1e-12 else 0.0


def _bootstrapped(
    predicted: Labels, labels: Labels, classes: int, losses: Floats, bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Return the bootstrap's intervals of the macro scores and of the two `losses`, shape (rows, 2)."""
    rows, effective = len(labels), effective_rows(labels)
    recall, f1 = macro_draws(predicted, labels, classes, bootstrap)
    sums = bootstrap.sums(csc_array(losses))
    return {
        "macro_recall": unless_perfect(percentile_interval(recall), effective),
        "macro_f1": unless_perfect(percentile_interval(f1), effective),
        "log_loss": percentile_interval(sums[:, 0] / rows),
        "brier": percentile_interval(sums[:, 1] / rows),
    }


def macro_draws(predicted: Labels, labels: Labels, classes: int, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Return macro recall and macro F1 of each resample, shape (draws,) each, over the classes that it has."""
    rows = len(labels)
    every, ones = np.arange(rows), np.ones(rows)
    # The columns: right answers by class, images by class, answers by class.
    values = np.concatenate([predicted == labels, ones, ones])
    places = np.concatenate([labels, classes + labels, 2 * classes + predicted])
    sums = bootstrap.sums(csc_array((values, (np.tile(every, 3), places)), shape=(rows, 3 * classes)))
    true, support, taken = (sums[:, part * classes : (part + 1) * classes] for part in range(3))
    there = support > 0
    count = there.sum(axis=1)
    recall = np.where(there, true / np.maximum(support, 1), 0).sum(axis=1) / count
    f1 = np.where(there, 2 * true / np.maximum(support + taken, 1), 0).sum(axis=1) / count
    return recall, f1
