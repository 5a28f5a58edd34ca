"""Which pictures the judgement has."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from darkroom.evaluation import figures
from darkroom.evaluation.calibration import reliability
from darkroom.evaluation.judging import Judged
from darkroom.evaluation.roster import BASELINE


def draw(judged: Sequence[Judged], best: Judged, labels: npt.NDArray[np.int64]) -> dict[str, Figure]:
    """Return the figures by file name; `labels` are those of the test rows, shape (test rows,)."""
    classes = best.card.classes
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, best.predicted), 1)
    trained = [each for each in judged if each.history]
    return {
        "accuracy": figures.accuracies({each.card.name: each.test for each in judged}, best.card.name, BASELINE),
        "confusion": figures.confusion(counts, classes),
        "learning_curves": figures.learning_curves(
            {each.card.name: each.history for each in trained},
            {each.card.name: each.card.best_epoch for each in trained},
        ),
        "reliability": figures.reliability(reliability(best.probabilities, labels)),
    }
