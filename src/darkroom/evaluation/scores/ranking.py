"""ROC AUC and average precision of each class, one-vs-rest, with leave-one-out values."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
RECALLS: Floats = np.linspace(0, 1, 51)
"""Recall values at which precision-recall curves are evaluated."""


@dataclass(frozen=True)
class Ranking:
    """A precision-recall curve and two areas, 0 to 1, with their leave-one-out values, shape (rows,)."""

    roc_auc: float
    """Probability that an image of the class scores higher than another image; 0.5 is chance level."""
    roc_auc_without: Floats
    average_precision: float
    """Mean precision at the ranks of the positive rows (no interpolation)."""
    average_precision_without: Floats
    precision: Floats
    """Interpolated at `RECALLS`: the highest precision at which recall is at least that value."""

    def compact(self) -> "Ranking":
        """Return the ranking without leave-one-out values, which take much memory for many classes and images."""
        return replace(self, roc_auc_without=np.empty(0), average_precision_without=np.empty(0))


def rank(scores: Floats, positive: npt.NDArray[np.bool_]) -> Ranking | None:
    """Return how well `scores` rank the `positive` rows first; None if all rows are positive or none is.

    scores, positive: shape (rows,). Equal scores share a rank. Leave-one-out values are exact and in closed form, since
    removing a row only changes the ranks after it. If only one row is positive (or negative), its leave-one-out value
    is the value of all rows.
    """
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return None
    order = np.argsort(-scores, kind="stable")
    is_hit = positive[order]
    ends = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(scores))
    starts = np.append(0, ends[:-1])
    first = np.repeat(starts, ends - starts)  # of the rows with the same score
    seen = np.repeat(ends, ends - starts)  # rows that score at least as much
    roc_auc, auc_without = _roc_auc(is_hit, first, seen, hits, misses)
    precision, precision_without, curve = _average_precision(is_hit, first, seen, hits)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Ranking(roc_auc, auc_without[back], precision, precision_without[back], curve)


def rank_classes(probabilities: Floats, labels: npt.NDArray[np.int64]) -> list[Ranking | None]:
    """Return the ranking of each class by its probability: shape (rows, classes), labels (rows,)."""
    return [rank(probabilities[:, label], labels == label) for label in range(probabilities.shape[1])]


def _roc_auc(is_hit: Marks, first: Counts, seen: Counts, hits: int, misses: int) -> tuple[float, Floats]:
    """Return the area under the ROC curve and its leave-one-out values (from DeLong et al., 1988)."""
    found = np.append(0, np.cumsum(is_hit))
    above = (found[first] + found[seen]) / 2  # positive rows before each; equal scores count half
    missed = (first + seen) / 2 - above
    wins = np.where(is_hit, misses - missed, above)  # correctly ordered pairs with rows of the other kind
    total = wins[is_hit].sum()
    without = np.full(len(is_hit), total / (hits * misses))
    if hits > 1:
        without[is_hit] = (total - wins[is_hit]) / ((hits - 1) * misses)
    if misses > 1:
        without[~is_hit] = (total - wins[~is_hit]) / (hits * (misses - 1))
    return float(total / (hits * misses)), without


def _average_precision(is_hit: Marks, first: Counts, seen: Counts, hits: int) -> tuple[float, Floats, Floats]:
    """Return the average precision, its leave-one-out values, and the curve."""
    found = np.cumsum(is_hit)[seen - 1]
    ahead = np.append(0.0, np.cumsum(np.where(is_hit, found / seen, 0.0)))  # cumulative precision at hits
    # Removing a row lowers the counts of all rows with the same or a lower score.
    fewer = np.maximum(seen - 1, 1)
    if_miss = np.append(0.0, np.cumsum(np.where(is_hit, found / fewer, 0.0)))
    if_hit = np.append(0.0, np.cumsum(np.where(is_hit, (found - 1) / fewer, 0.0)))
    kept = ahead[first]
    own = np.where(is_hit, (found - 1) / fewer, 0.0)
    hit_gone = (kept + if_hit[-1] - if_hit[first] - own) / max(1, hits - 1)
    miss_gone = (kept + if_miss[-1] - if_miss[first]) / hits
    value = float(ahead[-1] / hits)
    without = np.where(is_hit, hit_gone if hits > 1 else value, miss_gone)
    envelope = np.maximum.accumulate((found / seen)[::-1])[::-1]
    curve = envelope[np.searchsorted(found, np.maximum(1, np.ceil(RECALLS * hits - 1e-9)), side="left")]
    return value, without, curve
