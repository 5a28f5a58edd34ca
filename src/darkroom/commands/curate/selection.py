"""Which unlabelled images are worth labelling: of every class, those that a model finds ambiguous, and diverse ones."""

import numpy as np
import numpy.typing as npt

POOL = 3
"""Candidates per selected image, those with the smallest margins, among which diverse ones are selected
(benchmarks/RESULTS.md)."""
ROWS = 1_024
"""Candidates that are compared with labelled images at a time: 40 MB for an index of 10,000 images."""

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def margins(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the difference of the two largest probabilities of each row, 0 to 1: small where a model is undecided.

    probabilities: shape (N, classes), at least two classes. Margin sampling: Scheffer et al., Active Hidden Markov
    Models for Information Extraction, IDA 2001.
    """
    largest = np.partition(probabilities, -2, axis=1)[:, -2:]
    found: npt.NDArray[np.float64] = largest[:, 1] - largest[:, 0]
    return found


def in_turn(margins: npt.NDArray[np.float64], predicted: Places) -> Places:
    """Return positions of all images, each predicted class in turn, each time its smallest margin.

    margins, predicted: shape (N,). Of equal margins, the first comes first. Without the turns, images of the classes
    that a model confuses most would be selected, and rare classes hardly ever.
    """
    order = np.lexsort((margins, predicted))
    _, starts, sizes = np.unique(predicted[order], return_index=True, return_counts=True)
    turns = np.empty(len(order), dtype=np.int64)
    turns[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    found: Places = np.lexsort((margins, turns))
    return found


def spread_out(features: Floats, labelled: Floats, predicted: Places, count: int) -> Places:
    """Return positions of `count` rows of `features` far from `labelled` rows and from one another, in this order.

    features: shape (N, values); labelled: shape (M, values), M may be 0; predicted: shape (N,); count: at most N.

    Greedy k-center: each step takes the image with the largest distance to the nearest one that is labelled or was
    taken (Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018), here
    among the images of the predicted class of which the fewest were taken. Of equal ones, the first.
    """
    nearest = np.full(len(features), np.inf, dtype=np.float32)
    for start in range(0, len(features) if len(labelled) else 0, ROWS):
        part = slice(start, start + ROWS)
        nearest[part] = _squared(features[part], labelled).min(axis=1)
    taken, turns = np.empty(count, dtype=np.int64), np.zeros(int(predicted.max(initial=0)) + 1, dtype=np.int64)
    left = np.ones(len(features), dtype=np.bool_)
    for place in range(count):
        open_to = np.flatnonzero(left)
        fewest = open_to[turns[predicted[open_to]] == turns[predicted[open_to]].min()]
        mine = fewest[predicted[fewest] == predicted[fewest].min()]
        one = mine[nearest[mine].argmax()]
        taken[place], left[one] = one, False
        turns[predicted[one]] += 1
        np.minimum(nearest, _squared(features, features[one, np.newaxis])[:, 0], out=nearest)
    return taken


def _squared(rows: Floats, others: Floats) -> Floats:
    """Return the squared distances, shape (rows, others)."""
    squares: Floats = (rows**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1) - 2 * rows @ others.T
    return np.maximum(squares, 0)
