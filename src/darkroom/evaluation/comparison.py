"""Whether one model is better than another on the same images, or whether that may be chance."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

SIGNIFICANCE = 0.05
"""A difference that chance alone would bring this rarely counts as one."""

Verdict = Literal["better", "worse", "within noise"]


@dataclass(frozen=True)
class Comparison:
    """One model against another."""

    difference: float
    """Accuracy less the other's accuracy, -1 to 1."""
    p_value: float
    verdict: Verdict


def compare(right: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> Comparison:
    """Compare two models by McNemar's exact test (McNemar 1947; the binomial form).

    right, other: shape (rows,), whether each model is right on the same rows. Only rows on which they differ
    count: if neither were better, each would win half of those.
    """
    wins = int((right & ~other).sum())
    losses = int((other & ~right).sum())
    p_value = float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
    verdict: Verdict = "within noise"
    if p_value < SIGNIFICANCE:
        verdict = "better" if wins > losses else "worse"
    return Comparison((wins - losses) / len(right), p_value, verdict)
