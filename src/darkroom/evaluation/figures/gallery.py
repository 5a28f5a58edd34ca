"""All figures of the evaluation."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from darkroom import candidate
from darkroom.candidate_names import BASELINE
from darkroom.evaluation.abstention import SelectivePrediction, risk_coverage
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.failures.mistakes import Disagreement
from darkroom.evaluation.figures import curves, mosaics, scores
from darkroom.evaluation.scores.calibration import reliability


def draw(
    evaluated: Sequence[Evaluated],
    best: Evaluated,
    labels: npt.NDArray[np.int64],
    selective: SelectivePrediction,
    majority: float | None = None,
) -> dict[str, Figure]:
    """Return the figures by file name.

    labels: those of the test rows, shape (test rows,); majority: see `scores.accuracies`.
    """
    classes = best.card.classes
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, best.predicted), 1)
    trained = [each for each in evaluated if each.history]
    raw = candidate.softmax(best.predictions.test)
    risk = None if selective.confident_accuracy is None else 1 - selective.confident_accuracy
    most_confident = risk_coverage(best.probabilities.max(axis=1), best.predicted == labels)
    figures = {
        "accuracy": scores.accuracies(
            {each.card.name: each.test for each in evaluated}, best.card.name, BASELINE, majority
        ),
        "confusion": scores.confusion(counts, classes),
        "learning_curves": scores.learning_curves(
            {each.card.name: each.history for each in trained},
            {each.card.name: each.card.best_epoch for each in trained},
        ),
        "reliability": scores.reliability(reliability(raw, labels), reliability(best.probabilities, labels)),
        "risk_coverage": curves.risk_coverage(most_confident, selective.confident, risk),
    }
    ranked = {name: each for name, each in zip(classes, best.rankings, strict=True) if each is not None}
    if ranked:
        figures["precision_recall"] = curves.precision_recall(
            {name: each.precision for name, each in ranked.items()},
            {name: each.average_precision for name, each in ranked.items()},
        )
    return figures


def show(images: npt.NDArray[np.uint8], mistakes: Sequence[Disagreement]) -> dict[str, Figure]:
    """Return the figure of the most confident mistakes by file name, if there are any.

    images: the packed images, shape (N, S, S, 3).
    """
    drawing = mosaics.disagreements(images, mistakes)
    return {} if drawing is None else {"mistakes": drawing}
