"""When an answer is unsure, and when a picture is none of the classes: the thresholds, and how they are applied.

The judge fits a `Doubt` on validation images; the served card carries it and the service answers by it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Score = Literal["max_probability", "energy"]
"""What tells pictures of the classes from others: the largest calibrated probability (Hendrycks and Gimpel, A
Baseline for Detecting Misclassified and Out-of-Distribution Examples, 2017), or the logarithm of the summed
exponentials of the logits, which is the energy with its sign turned (Liu et al., Energy-based Out-of-distribution
Detection, 2020)."""


@dataclass(frozen=True)
class Doubt:
    """When an answer is unsure, and when a picture is none of the classes: fitted on validation."""

    score: Score
    """What tells pictures of the classes from others."""
    known: float
    """A picture is in distribution where its `known_score` is at least this."""
    confident: float
    """An answer is confident where its picture is in distribution and its largest calibrated probability is at
    least this, 0 to 1."""
    coverage: float
    """Share of the validation images with confident answers, 0 to 1."""

    def verdicts(
        self, logits: npt.NDArray[np.float32], temperature: float
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return whether each row is in distribution, and whether its answer is confident: two of shape (rows,).

        logits: shape (rows, classes); temperature: that of the card, which makes probabilities calibrated.
        """
        in_distribution = known_score(logits, temperature, self.score) >= self.known
        sure = known_score(logits, temperature, "max_probability") >= self.confident
        return in_distribution, in_distribution & sure


def known_score(logits: npt.NDArray[np.float32], temperature: float, score: Score) -> npt.NDArray[np.float64]:
    """Return how much each row looks like a picture of the classes, shape (rows,): higher is more so.

    logits: shape (rows, classes). A largest probability is 1 / classes to 1; an energy can be any number.
    """
    scaled = logits.astype(np.float64) / temperature
    largest = scaled.max(axis=1)
    rest = np.log(np.exp(scaled - largest[:, np.newaxis]).sum(axis=1))
    known: npt.NDArray[np.float64] = np.exp(-rest) if score == "max_probability" else largest + rest
    return known
