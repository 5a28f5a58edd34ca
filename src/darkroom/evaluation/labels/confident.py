"""Confident learning: images whose label is probably wrong, with the probability that it is.

C. Northcutt, L. Jiang and I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, 2021. The share of
wrong labels is estimated with a model of its own, see `fit`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TEMPERATURES = (0.01, 2.0)
"""Bounds of the temperature; the scores are regressions of 0 and 1."""
GRID, REFINEMENTS = 12, 3
"""Temperatures to compare at first, and how often the interval around the best one is halved afterwards."""
ITERATIONS, TOLERANCE = 150, 1e-6
"""Of expectation maximization; the tolerance is of the log likelihood per image."""
START = 0.02
"""Shares of random and of confused labels at which the iteration starts."""
PRIOR = 1.0
"""Random labels that are added to those found: without it, the temperature alone can explain the only errors of a small
set."""
MOST, PER_CLASS = 300_000, 2
"""Number of scores, images times classes, from which on a sample of the images is used, but so many per class."""
TINY = 1e-9

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Noise:
    """How scores become probabilities, and which labels contradict them more than ambiguous images explain."""

    temperature: float
    share: float
    """Estimated share of labels drawn at random, 0 to 1; of k classes, one kth of these are right by chance."""
    confused: Floats
    """Shape (k, k): share of the images of each true class (row) that have the label of another class (column), beyond
    those drawn at random; zero on the diagonal."""

    @property
    def transition(self) -> Floats:
        """Probability of each label (column), given the true class (row), shape (k, k)."""
        classes = len(self.confused)
        right = np.maximum(1 - self.share - self.confused.sum(axis=1), TINY)
        result: Floats = np.diag(right) + self.share / classes + self.confused
        return result

    def wrong_share(self, labels: Labels) -> float:
        """Return the estimated share of wrong labels, 0 to 1, for classes as frequent as `labels`, shape (N,)."""
        classes = len(self.confused)
        counts = np.bincount(labels, minlength=classes)
        at_random = self.share * (1 - 1 / classes)
        return float(at_random + self.confused.sum(axis=1) @ counts / max(1, counts.sum()))


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
    """Return the noise with the maximum penalized likelihood, by expectation maximization.

    scores: out-of-fold, shape (N, classes); labels: shape (N,). The true class of an image is drawn from
    `softmax(scores / temperature)`. Its label is the true class; or, with the probability `share`, drawn from all
    classes with equal probability; or, with a probability of its own for each pair of classes, another class, because
    people confuse particular classes. Ambiguous images are thus explained by the temperature.

    A pair of classes counts as confused only if this increases the log likelihood by more than half the logarithm of N,
    as in the Bayesian information criterion (M. Figueiredo and A. Jain, Unsupervised Learning of Finite Mixture Models,
    2002).
    """
    count, classes = scores.shape
    step = -(-count // max(MOST // classes, PER_CLASS * classes))
    some, labels = scores[::step].astype(np.float64), labels[::step]
    low, high = np.log(TEMPERATURES)
    grid = np.linspace(low, high, GRID)
    found = {value: _maximize(some, labels, float(np.exp(value))) for value in grid}
    width = grid[1] - grid[0]
    for _ in range(REFINEMENTS):
        best, width = max(found, key=lambda value: found[value][0]), width / 2
        for value in (best - width, best + width):
            found[value] = _maximize(some, labels, float(np.exp(value)))
    return max(found.values(), key=lambda each: each[0])[1]


def _maximize(scores: Floats, labels: Labels, temperature: float) -> tuple[float, Noise]:
    """Return the noise with the maximum penalized log likelihood at a temperature, and this likelihood."""
    count, classes = scores.shape
    likely, penalty = softmax(scores / temperature), np.log(count) / 2
    confused = np.full((classes, classes), START / max(1, classes - 1))
    np.fill_diagonal(confused, 0)
    noise, last = Noise(temperature, START, confused), -np.inf
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    for _ in range(ITERATIONS):
        transition = noise.transition
        total = np.einsum("nt,tn->n", likely, transition[:, labels])
        value = float(np.log(total).sum())
        if abs(value - last) < TOLERANCE * count:
            break
        last = value
        # Expected number of images by true class (row) and label (column).
        expected = np.zeros((classes, classes))
        expected[:, present] = np.add.reduceat((likely / total[:, None])[order], starts).T
        expected *= transition
        at_random = float((expected * noise.share / classes / transition).sum())
        pairs = np.maximum(expected * noise.confused / transition - penalty, 0)
        confused = pairs / np.maximum(expected.sum(axis=1, keepdims=True), TINY)
        noise = Noise(temperature, (at_random + PRIOR) / (count + PRIOR), confused)
    value = last - penalty * np.count_nonzero(noise.confused) + PRIOR * float(np.log(noise.share))
    return value, noise


def probabilities(scores: Scores, noise: Noise) -> Floats:
    """Return the probability of each class, shape (N, classes), as if no label were wrong."""
    return softmax(scores.astype(np.float64) / noise.temperature)


def wrong(likely: Floats, labels: Labels, noise: Noise) -> Floats:
    """Return the probability that each label is wrong, shape (N,), for the result of `probabilities`."""
    transition, result = noise.transition, np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        right = likely[rows, label] * transition[label, label]
        result[rows] = 1 - right / np.maximum(likely[rows] @ transition[:, label], TINY)
    return np.clip(result, 0, 1)


def issues(likely: Floats, labels: Labels, precision: Floats, known: npt.NDArray[np.bool_]) -> list[Issue]:
    """Return images whose label may be wrong, the most probably wrong first.

    A class is likely if its probability is at least the mean over images with that label. An image whose most probable
    likely class is not its label is an issue, and so is one whose label is more probably wrong than right: `precision`.
    Equal ones are ranked by self-confidence, the probability of the label. likely: out-of-fold probabilities, shape (N,
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
        for row in found[np.lexsort((own, -precision[found]))]
    ]


def softmax(logits: Floats) -> Floats:
    """Return probabilities, shape (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result
