"""How well the probability of a class ranks the images of that class before all others."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
RECALLS: Floats = np.linspace(0, 1, 51)
"""Where a curve of precision by recall is read."""


@dataclass(frozen=True)
class Ranking:
    """A curve, two areas, 0 to 1, and what they would be without each row, shape (rows,)."""

    roc_auc: float
    """Chance that an image of the class has a higher probability than another; 0.5 is guessing."""
    roc_auc_without: Floats
    average_precision: float
    """Mean precision at the places of the class's images (no interpolation)."""
    average_precision_without: Floats
    precision: Floats
    """Interpolated at `RECALLS`: the highest precision that reaches at least that recall."""

    def compact(self) -> "Ranking":
        """Return the ranking without the values for each row, which of many classes and images fill the memory."""
        return replace(self, roc_auc_without=np.empty(0), average_precision_without=np.empty(0))


def rank(scores: Floats, positive: npt.NDArray[np.bool_]) -> Ranking | None:
    """Return how well `scores` rank the `positive` rows first; None where all rows are positive, or none is.

    scores, positive: shape (rows,). Equal scores share their rank. The values without a row are exact, in closed
    form: a row that is taken out moves only the ranks behind it. Where only one row is positive (or negative), the
    value without it is taken to be the value with it.
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
    """Return how well each class's probability ranks its images: shape (rows, classes), labels (rows,)."""
    return [rank(probabilities[:, label], labels == label) for label in range(probabilities.shape[1])]


def _roc_auc(is_hit: Marks, first: Counts, seen: Counts, hits: int, misses: int) -> tuple[float, Floats]:
    """Return the area under the ROC curve, and the same without each row (DeLong et al., 1988, components)."""
    found = np.append(0, np.cumsum(is_hit))
    above = (found[first] + found[seen]) / 2  # positive rows before each, those of the same score by half
    missed = (first + seen) / 2 - above
    wins = np.where(is_hit, misses - missed, above)  # pairs with a row of the other kind that are in order
    total = wins[is_hit].sum()
    without = np.full(len(is_hit), total / (hits * misses))
    if hits > 1:
        without[is_hit] = (total - wins[is_hit]) / ((hits - 1) * misses)
    if misses > 1:
        without[~is_hit] = (total - wins[~is_hit]) / (hits * (misses - 1))
    return float(total / (hits * misses)), without


def _average_precision(is_hit: Marks, first: Counts, seen: Counts, hits: int) -> tuple[float, Floats, Floats]:
    """Return the average precision, the same without each row, and the curve."""
    found = np.cumsum(is_hit)[seen - 1]
    ahead = np.append(0.0, np.cumsum(np.where(is_hit, found / seen, 0.0)))  # precision at hits, summed
    # A row that goes takes itself out of the counts of all rows that score no more.
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
