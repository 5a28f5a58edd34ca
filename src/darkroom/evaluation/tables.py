"""The judgement as JSON and CSV, as DVC and the report read it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from darkroom.evaluation.comparison import Comparison
from darkroom.evaluation.judging import Judged
from darkroom.evaluation.metrics import score_classes
from darkroom.evaluation.selection import Choice

CURVES = ("candidate", "epoch", "train_loss", "validation_loss", "validation_accuracy")
CONFUSION = ("actual", "predicted")
PER_CLASS = ("candidate", "class", "support", "precision", "recall", "f1")


def evaluation(judged: Sequence[Judged], best: Judged, against_baseline: Comparison) -> dict[str, Any]:
    """Return `metrics/evaluation.json`, whose leaves are single values; `without_leaks` is there where leaks are."""
    return {
        "best": {
            "name": best.card.name,
            "test_accuracy": best.test.accuracy,
            "test_accuracy_low": best.test.accuracy_low,
            "test_accuracy_high": best.test.accuracy_high,
            "versus_baseline": asdict(against_baseline),
        },
        "candidates": {
            each.card.name: {
                "temperature": each.temperature,
                "validation": asdict(each.validation),
                "test": asdict(each.test),
                **({"without_leaks": asdict(each.without_leaks)} if each.without_leaks else {}),
            }
            for each in judged
        },
    }


def choice(chosen: Choice, metric: str) -> dict[str, Any]:
    """Return `models/best.json`."""
    return {
        "name": chosen.best.card.name,
        "metric": metric,
        "value": chosen.value,
        "temperature": chosen.best.temperature,
        "reason": chosen.reason,
    }


def curves(judged: Sequence[Judged]) -> list[tuple[Any, ...]]:
    """Return the rows of `plots/learning_curves.csv`."""
    return [(each.card.name, *asdict(epoch).values()) for each in judged for epoch in each.history]


def confusion(best: Judged, labels: npt.NDArray[np.int64]) -> list[tuple[str, str]]:
    """Return the rows of `plots/confusion.csv`, one a test image."""
    names = best.card.classes
    return [(names[actual], names[predicted]) for actual, predicted in zip(labels, best.predicted, strict=True)]


def per_class(judged: Sequence[Judged], labels: npt.NDArray[np.int64]) -> list[tuple[Any, ...]]:
    """Return the rows of `plots/per_class.csv`: test scores, empty where the test split lacks the class."""
    return [
        (each.card.name, *asdict(scores).values())
        for each in judged
        for scores in score_classes(each.predicted, labels, each.card.classes)
    ]
