"""Calibration: temperature scaling and the calibration error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

BINS = 10
"""Bins of equal width for the reliability diagram and the calibration error."""
PRIOR = 0.5
"""Prior standard deviation of the logarithm of the temperature."""


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Return the temperature, 0.05 to 20, at which `softmax(logits / temperature)` fits `labels` best.

    logits: shape (rows, classes). labels: shape (rows,), 0 to classes - 1. A single parameter hardly overfits
    (Guo et al., On Calibration of Modern Neural Networks, 2017). But if every row is classified correctly, the
    maximum-likelihood temperature is zero, which claims certainty. Therefore log T has a weak normal prior with mean 0
    and standard deviation `PRIOR`; a few dozen informative rows outweigh it.
    """
    gaps = logits.astype(np.float64)
    # A probability that underflowed to 0 has a logit of minus infinity; a gap of 100 nats is equivalent.
    gaps = np.maximum(gaps - gaps.max(axis=1, keepdims=True), -100)
    own = gaps[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        fit = np.log(np.exp(gaps / temperature).sum(axis=1)) - own / temperature
        return float(fit.sum() + log_temperature**2 / (2 * PRIOR**2))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(found.x)), 4)


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence."""

    count: int
    right: int
    confidence: float
    """Mean probability of the predicted class."""


def reliability(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[Bin]:
    """Return the non-empty bins of confidence, lowest first.

    probabilities: shape (rows, classes). labels: shape (rows,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        Bin(int(inside.sum()), int(right[inside].sum()), float(confidence[inside].mean()))
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error, 0 to 1: the mean gap between confidence and accuracy."""
    total = sum(each.count for each in bins)
    return sum(abs(each.right - each.count * each.confidence) for each in bins) / total
