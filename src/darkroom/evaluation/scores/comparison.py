"""Comparison of models on the same images, and of parts of the images: exact tests with Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

SIGNIFICANCE = 0.05
"""Significance level: a difference with a smaller p-value is called significant."""

Verdict = Literal["better", "worse", "within noise"]


@dataclass(frozen=True)
class Comparison:
    """Comparison of one model with another."""

    difference: float
    """Accuracy minus that of the other model, -1 to 1."""
    p_value: float
    """Of McNemar's exact test, with Holm's correction if more than one pair was compared."""
    verdict: Verdict

    def turned(self) -> "Comparison":
        """Return the comparison of the other model with this one."""
        verdicts: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "within noise": "within noise"}
        return Comparison(0.0 - self.difference, self.p_value, verdicts[self.verdict])


def compare(right: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> Comparison:
    """Compare two models with McNemar's exact test (McNemar, 1947; binomial form).

    right, other: shape (rows,), whether each model classifies the same rows correctly. Only rows on which they differ
    count; under the null hypothesis, each model is right on half of them.
    """
    from scipy.stats import binomtest  # takes a second to import and is only needed here

    wins = int((right & ~other).sum())
    losses = int((other & ~right).sum())
    p_value = float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
    difference = (wins - losses) / len(right)
    return Comparison(difference, p_value, _verdict(difference, p_value))


def compare_each(best: npt.NDArray[np.bool_], others: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Comparison]:
    """Compare each of `others` with `best`: shape (rows,), whether each classifies the same rows correctly.

    p-values are corrected for multiple comparisons: the probability of any false positive is at most 5%.
    """
    raw = {name: compare(right, best) for name, right in others.items()}
    adjusted = holm([each.p_value for each in raw.values()])
    return {
        name: replace(each, p_value=p_value, verdict=_verdict(each.difference, p_value))
        for (name, each), p_value in zip(raw.items(), adjusted, strict=True)
    }


def fisher(hits: int, images: int, all_hits: int, all_images: int) -> float:
    """Return the p-value of Fisher's exact test: is the accuracy on these images that on all others?"""
    from scipy.stats import fisher_exact  # takes a second to import and is only needed here

    others, rest = all_hits - hits, all_images - images
    return float(fisher_exact([[hits, images - hits], [others, rest - others]]).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return `p_values` corrected for multiple comparisons (Holm, A Simple Sequentially Rejective Multiple Test
    Procedure, 1979)."""
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - done)))
        adjusted[place] = least
    return adjusted


def _verdict(difference: float, p_value: float) -> Verdict:
    if p_value >= SIGNIFICANCE:
        return "within noise"
    return "better" if difference > 0 else "worse"
