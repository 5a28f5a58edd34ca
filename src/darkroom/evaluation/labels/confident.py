"""Confident learning: images whose label is probably wrong, with the probability that it is.

C. Northcutt, L. Jiang and I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, 2021.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

SHARES = (1e-4, 0.5)
"""Bounds of the estimated share of wrong labels."""
TEMPERATURES = (0.005, 5.0)
"""Bounds of the temperature; the scores are regressions of 0 and 1."""

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Noise:
    """How scores become probabilities, and how many labels contradict them more than ambiguous images explain."""

    temperature: float
    share: float
    """Estimated share of labels drawn at random, 0 to 1; of k classes, one kth of these are right by chance."""


@dataclass(frozen=True)
class Issue:
    """An image whose label may be wrong."""

    row: int
    label: int
    proposed: int
    score: float
    """Probability of the label, 0 to 1: the lower, the more probably wrong."""
    precision: float
    """Probability that the label is wrong, 0 to 1."""


def fit(scores: Scores, labels: Labels) -> Noise:
    """Return the temperature and the share of wrong labels with the maximum likelihood.

    scores: out-of-fold, shape (N, classes); labels: shape (N,). A label is that of `softmax(scores / temperature)` or,
    with the probability `share`, drawn from all classes with equal probability. Ambiguous images are thus explained by
    the temperature, and only labels that are improbable at any fitting temperature by the share.
    """
    own, everyone = np.arange(len(labels)), scores.astype(np.float64)
    classes = scores.shape[1]

    def loss(values: Floats) -> float:
        share = _logistic(values[1])
        right = softmax(everyone / np.exp(values[0]))[own, labels]
        return float(-np.log((1 - share) * right + share / classes).mean())

    bounds = [np.log(TEMPERATURES), tuple(np.log(np.divide(SHARES, np.subtract(1, SHARES))))]
    starts = [(np.log(temperature), -3.0) for temperature in (0.05, 0.3)]
    found = [minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=TOLERANCE) for start in starts]
    best = min(found, key=lambda each: float(each.fun))
    return Noise(round(float(np.exp(best.x[0])), 4), round(float(_logistic(best.x[1])), 5))


TOLERANCE = {"xatol": 1e-3, "fatol": 1e-7, "maxiter": 300}


def probabilities(scores: Scores, noise: Noise) -> Floats:
    """Return the probability of each class, shape (N, classes), as if no label were wrong."""
    return softmax(scores.astype(np.float64) / noise.temperature)


def wrong(likely: Floats, labels: Labels, noise: Noise) -> Floats:
    """Return the probability that each label is wrong, shape (N,), for the result of `probabilities`."""
    own = likely[np.arange(len(labels)), labels]
    at_random = noise.share / likely.shape[1]
    result: Floats = at_random * (1 - own) / ((1 - noise.share) * own + at_random)
    return result


def issues(likely: Floats, labels: Labels, precision: Floats, known: npt.NDArray[np.bool_]) -> list[Issue]:
    """Return images whose label may be wrong, the least probable label first.

    A class is likely if its probability is at least the mean over images with that label. An image whose most probable
    likely class is not its label is an issue, and so is one whose label is more probably wrong than right: `precision`.
    The ranking is by self-confidence, the probability of the label. likely: out-of-fold probabilities, shape (N,
    classes); labels, precision: shape (N,). Images that are not `known` are left out.
    """
    rows = np.arange(len(labels))
    counts = np.bincount(labels, minlength=likely.shape[1])
    sums = np.bincount(labels, likely[rows, labels], likely.shape[1])
    average = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)  # an absent class is never likely
    candidates = np.where(likely >= average, likely, -1.0)
    proposed = np.where(candidates.max(axis=1) > 0, candidates.argmax(axis=1), labels)
    others = likely.copy()
    others[rows, labels] = -1.0
    proposed = np.where((proposed == labels) & (precision > 0.5), others.argmax(axis=1), proposed)
    found = np.flatnonzero((proposed != labels) & known)
    own = likely[found, labels[found]]
    return [
        Issue(int(row), int(labels[row]), int(proposed[row]), float(likely[row, labels[row]]), float(precision[row]))
        for row in found[np.argsort(own, kind="stable")]
    ]


def softmax(logits: Floats) -> Floats:
    """Return probabilities, shape (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
