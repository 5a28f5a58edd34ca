"""The failures of the best candidate, for review by a person."""

from dataclasses import dataclass

import numpy as np

from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.failures.mistakes import Disagreement, Pair, confused, mistakes
from darkroom.evaluation.failures.slices import Slice, measures, slices
from darkroom.packed import Packed, Split


@dataclass(frozen=True)
class Review:
    """The failures of one candidate."""

    confused: list[Pair]
    """On test."""
    mistakes: list[Disagreement]
    """On test, the most confident first."""
    slices: list[Slice]
    """Of the test images."""


def review(best: Evaluated, data: Packed, split: Split) -> Review:
    """Return the failures of `best`."""
    test = split.rows("test")
    labels = split.labels[test]
    measured = measures(data.images, test, data.records)
    names = [data.records[row].slice for row in test]
    largest = labels == np.bincount(labels).argmax()
    return Review(
        confused=confused(best.predicted, labels, split.classes),
        mistakes=mistakes(best.probabilities, labels, test, split.classes),
        slices=slices(measured, best.predicted == labels, largest, split.leaks[test], names),
    )
