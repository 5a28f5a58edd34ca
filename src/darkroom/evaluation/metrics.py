"""What predictions are worth: scores of a split, and of each class."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array
from sklearn.metrics import precision_recall_fscore_support

from darkroom.evaluation.calibration import calibration_error, reliability
from darkroom.evaluation.intervals import (
    Bootstrap,
    Interval,
    accuracy_interval,
    jackknife_interval,
    percentile_interval,
    unless_perfect,
)
from darkroom.evaluation.ranking import Ranking, rank

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


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
    roc_auc: float | None
    """None as well where the split has no image of another class."""
    average_precision: float | None


def score(probabilities: Floats, labels: Labels) -> Scores:
    """Score one split; macro averages run over the classes that it has images of.

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
        top_3=float((place < 3).mean()) if classes > 3 else None,
        top_5=float((place < 5).mean()) if classes > 5 else None,
        intervals=score_intervals(probabilities, labels, rankings, bootstrap),
    )


def score_intervals(
    probabilities: Floats, labels: Labels, rankings: Sequence[Ranking | None], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Return the 95% intervals of the headline scores but accuracy, by name; arguments as for `score_in_detail`.

    The calibration error has none: each resample repeats rows, which makes its own error larger than the sample's.
    """
    rows, classes = probabilities.shape
    losses = np.column_stack([log_losses(probabilities, labels), brier_scores(probabilities, labels)])
    intervals = _bootstrapped(probabilities.argmax(axis=1), labels, classes, losses, bootstrap)
    there = [ranking for ranking in rankings if ranking is not None]
    for name in ("roc_auc", "average_precision") if there else ():
        value = float(np.mean([getattr(ranking, name) for ranking in there]))
        without = np.mean([getattr(ranking, f"{name}_without") for ranking in there], axis=0)
        intervals[name] = unless_perfect(jackknife_interval(value, without), rows)
    return intervals


def score_uncalibrated(probabilities: Floats, labels: Labels) -> Uncalibrated:
    """Score the probabilities that the logits give as they are: shape (rows, classes), labels (rows,)."""
    return Uncalibrated(
        log_loss=float(log_losses(probabilities, labels).mean()),
        brier=float(brier_scores(probabilities, labels).mean()),
        ece=calibration_error(reliability(probabilities, labels)),
    )


def score_without_leaks(predicted: Labels, labels: Labels, leaks: npt.NDArray[np.bool_]) -> WithoutLeaks | None:
    """Score the test images that are no leaks; None where all are, or none is, so that there is nothing to add.

    predicted, labels, leaks: shape (rows,).
    """
    right = (predicted == labels)[~leaks]
    if leaks.all() or not leaks.any():
        return None
    return WithoutLeaks(int(leaks.sum()), float(right.mean()), *accuracy_interval(int(right.sum()), len(right)))


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
        )
        for name, precision, recall, f1, support, ranking in zip(classes, *columns, rankings, strict=True)
    ]


def rank_classes(probabilities: Floats, labels: Labels) -> list[Ranking | None]:
    """Return how well each class's probability ranks its images: shape (rows, classes), labels (rows,)."""
    return [rank(probabilities[:, label], labels == label) for label in range(probabilities.shape[1])]


def log_losses(probabilities: Floats, labels: Labels) -> Floats:
    """Return the negative log-probability of each row's class, in nats, shape (rows,)."""
    # The smallest probability that float32 logits can tell from 0 bounds the price of one sure mistake.
    given = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
    losses: Floats = -np.log(given)
    return losses


def brier_scores(probabilities: Floats, labels: Labels) -> Floats:
    """Return the squared distance of each row's probabilities from its class, 0 to 2, shape (rows,)."""
    given = probabilities[np.arange(len(labels)), labels]
    scores: Floats = (probabilities**2).sum(axis=1) - 2 * given + 1
    return scores


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
    rows = len(labels)
    every, ones = np.arange(rows), np.ones(rows)
    # The columns: right answers by class, images by class, answers by class, and the two losses.
    values = np.concatenate([predicted == labels, ones, ones, losses[:, 0], losses[:, 1]])
    places = [
        labels,
        classes + labels,
        2 * classes + predicted,
        *(np.full(rows, 3 * classes + loss) for loss in (0, 1)),
    ]
    columns = csc_array((values, (np.tile(every, 5), np.concatenate(places))), shape=(rows, 3 * classes + 2))
    sums = bootstrap.sums(columns)
    true, support, taken = (sums[:, part * classes : (part + 1) * classes] for part in range(3))
    there = support > 0
    count = there.sum(axis=1)
    recall = np.where(there, true / np.maximum(support, 1), 0).sum(axis=1) / count
    f1 = np.where(there, 2 * true / np.maximum(support + taken, 1), 0).sum(axis=1) / count
    return {
        "macro_recall": unless_perfect(percentile_interval(recall), rows),
        "macro_f1": unless_perfect(percentile_interval(f1), rows),
        "log_loss": percentile_interval(sums[:, -2] / rows),
        "brier": percentile_interval(sums[:, -1] / rows),
    }
