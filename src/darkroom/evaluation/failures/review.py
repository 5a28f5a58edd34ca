"""The failures of the best candidate, for review by a person."""

from dataclasses import dataclass

import numpy as np

from darkroom import candidate
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.failures.mistakes import Disagreement, Pair, confused, label_issues, mistakes
from darkroom.evaluation.failures.slices import Slice, measures, slices
from darkroom.packed import Packed, Split


@dataclass(frozen=True)
class Review:
    """The failures of one candidate."""

    confused: list[Pair]
    """On test."""
    mistakes: list[Disagreement]
    """On test, the most confident first."""
    label_issues: list[Disagreement]
    """On validation and test, which were not used for fitting; the least probable label first."""
    slices: list[Slice]
    """Of the test images."""


def review(best: Evaluated, data: Packed, split: Split) -> Review:
    """Return the failures of `best`."""
    test, validation = split.rows("test"), split.rows("validation")
    labels = split.labels[test]
    calibrated = candidate.softmax(best.predictions.validation, best.temperature)
    rows = np.concatenate([validation, test])
    probabilities = np.concatenate([calibrated, best.probabilities])
    measured = measures(data.images, test, data.records)
    names = [data.records[row].slice for row in test]
    largest = labels == np.bincount(labels).argmax()
    return Review(
        confused=confused(best.predicted, labels, split.classes),
        mistakes=mistakes(best.probabilities, labels, test, split.classes),
        label_issues=label_issues(probabilities, split.labels[rows], rows, split.classes),
        slices=slices(measured, best.predicted == labels, largest, split.leaks[test], names),
    )
