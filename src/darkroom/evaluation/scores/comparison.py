"""Whether one model is better than another on the same images, or whether that may be chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

SIGNIFICANCE = 0.05
"""A difference that chance alone would bring this rarely counts as one."""

Verdict = Literal["better", "worse", "within noise"]


@dataclass(frozen=True)
class Comparison:
    """One model against another."""

    difference: float
    """Accuracy less the other's accuracy, -1 to 1."""
    p_value: float
    """Of McNemar's exact test; by Holm's correction, where more than one pair was compared."""
    verdict: Verdict

    def turned(self) -> "Comparison":
        """Return the comparison as the other model sees it."""
        verdicts: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "within noise": "within noise"}
        return Comparison(0.0 - self.difference, self.p_value, verdicts[self.verdict])


def compare(right: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> Comparison:
    """Compare two models by McNemar's exact test (McNemar 1947; the binomial form).

    right, other: shape (rows,), whether each model is right on the same rows. Only rows on which they differ
    count: if neither were better, each would win half of those.
    """
    from scipy.stats import binomtest  # a second of import, which readers of comparisons need not pay

    wins = int((right & ~other).sum())
    losses = int((other & ~right).sum())
    p_value = float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
    difference = (wins - losses) / len(right)
    return Comparison(difference, p_value, _verdict(difference, p_value))


def compare_each(best: npt.NDArray[np.bool_], others: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Comparison]:
    """Compare each of `others` with `best`: shape (rows,), whether each is right on the same rows.

    p-values are corrected for how many there are, so that chance alone calls none better or worse 19 times of 20.
    """
    raw = {name: compare(right, best) for name, right in others.items()}
    adjusted = holm([each.p_value for each in raw.values()])
    return {
        name: replace(each, p_value=p_value, verdict=_verdict(each.difference, p_value))
        for (name, each), p_value in zip(raw.items(), adjusted, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Return `p_values` corrected for how many they are (Holm, A Simple Sequentially Rejective Multiple Test
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
