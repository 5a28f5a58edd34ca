"""The evaluation as JSON and CSV, as DVC and the report read it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
import numpy.typing as npt

from darkroom import plot_labels
from darkroom.candidate_names import BASELINE
from darkroom.evaluation.abstention import SelectivePrediction, risk_coverage
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.failures.mistakes import Disagreement
from darkroom.evaluation.failures.review import Review
from darkroom.evaluation.scores.calibration import reliability
from darkroom.evaluation.scores.comparison import Comparison
from darkroom.evaluation.scores.detail import Detailed
from darkroom.evaluation.scores.metrics import score_classes
from darkroom.evaluation.scores.ranking import RECALLS
from darkroom.evaluation.selection import Choice
from darkroom.packed import Record, Split
from darkroom.thresholds import Thresholds

CURVES = ("candidate", "epoch", "train_loss", "validation_loss", "validation_accuracy")
CONFUSION = ("actual", "predicted")
PER_CLASS = ("candidate", "class", "support", "precision", "recall", "f1", "roc_auc", "average_precision")
DIGITS = 10
"""Digits after the point: more than anyone needs, fewer than those in which processors differ."""
HEADLINE_DIGITS = 4
"""Digits after the point of what a reviewer compares: another processor's rounding does not show."""
MOST = 500
"""Longest list of images."""


def evaluation(
    evaluated: Sequence[Evaluated],
    best: Evaluated,
    comparisons: Mapping[str, Comparison],
    thresholds: Mapping[str, Thresholds],
    selective: SelectivePrediction,
    label_issues: int,
) -> dict[str, Any]:
    """Return `plots/tables/scores.json`, whose leaves are single values; docs/evaluation.md says what each one is.

    comparisons: each candidate against the best; doubts: of the networks; label_issues: how many labels
    may be wrong. Where a value is None, its key is left out.
    """
    document = {
        "best": {
            "name": best.card.name,
            "test_accuracy": best.test.accuracy,
            "test_accuracy_low": best.test.accuracy_low,
            "test_accuracy_high": best.test.accuracy_high,
            "versus_baseline": asdict(comparisons[BASELINE].turned()),
            "selective_prediction": asdict(selective),
            "label_issues": label_issues,
        },
        "candidates": {each.card.name: _candidate(each, comparisons, thresholds) for each in evaluated},
    }
    tidy: dict[str, Any] = _tidy(document)
    return tidy


def headline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metrics/evaluation.json`, what a reviewer compares, from what `evaluation` returns.

    `dvc metrics diff` prints a row for each leaf that differs, so these are few, and rounded to what is worth a row.
    """
    best = scores["best"]
    test = scores["candidates"][best["name"]]["test"]
    bounded = [f"{name}{bound}" for name in ("accuracy", "macro_f1") for bound in ("", "_low", "_high")]
    lead = {
        "name": best["name"],
        **{f"test_{name}": test[name] for name in (*bounded, "log_loss", "ece")},
        "confident": best["selective_prediction"]["confident"],
        "versus_baseline": best["versus_baseline"]["verdict"],
    }
    candidates = {
        name: {"test_accuracy": each["test"]["accuracy"], "test_macro_f1": each["test"]["macro_f1"]}
        for name, each in scores["candidates"].items()
    }
    tidy: dict[str, Any] = _tidy({"best": lead, "candidates": candidates}, HEADLINE_DIGITS)
    return tidy


def _candidate(
    each: Evaluated, comparisons: Mapping[str, Comparison], thresholds: Mapping[str, Thresholds]
) -> dict[str, Any]:
    name = each.card.name
    return {
        "temperature": each.temperature,
        "overconfidence": each.overconfidence,
        "validation": asdict(each.validation),
        "test": _flat(each.test),
        "uncalibrated": asdict(each.uncalibrated),
        "without_leaks": {"leaks": each.leaks, **_flat(each.without_leaks)} if each.without_leaks else None,
        "versus_best": asdict(comparisons[name]) if name in comparisons else None,
        "thresholds": asdict(thresholds[name]) if name in thresholds else None,
    }


def _flat(scores: Detailed) -> dict[str, Any]:
    """Return scores by name, and the bounds of each one's interval beside it."""
    values = asdict(scores)
    for name, (low, high) in values.pop("intervals").items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    return values


def _tidy(value: Any, digits: int = DIGITS) -> Any:
    """Return `value` without None in mappings, and with its floats rounded, so that processors agree on the text."""
    if isinstance(value, dict):
        return {key: _tidy(each, digits) for key, each in value.items() if each is not None}
    return round(value, digits) if isinstance(value, float) else value


def choice(chosen: Choice, metric: str) -> dict[str, Any]:
    """Return `models/best.json`."""
    chosen_by = {
        "name": chosen.best.card.name,
        "metric": metric,
        "value": chosen.value,
        "temperature": chosen.best.temperature,
        "reason": chosen.reason,
    }
    return dict(_tidy(chosen_by))


def curves(evaluated: Sequence[Evaluated]) -> list[tuple[Any, ...]]:
    """Return the rows of `plots/learning_curves.csv`."""
    return [(each.card.name, *asdict(epoch).values()) for each in evaluated for epoch in each.history]


def confusion(best: Evaluated, labels: npt.NDArray[np.int64]) -> list[tuple[str, str]]:
    """Return the rows of `plots/confusion.csv`, one a test image."""
    names = list(map(plot_labels.defuse, best.card.classes))
    return [(names[actual], names[predicted]) for actual, predicted in zip(labels, best.predicted, strict=True)]


def per_class(evaluated: Sequence[Evaluated], labels: npt.NDArray[np.int64]) -> list[tuple[Any, ...]]:
    """Return the rows of `plots/per_class.csv`: test scores, empty where the test split lacks the class."""
    return [
        (each.card.name, *asdict(scores).values())
        for each in evaluated
        for scores in score_classes(each.predicted, labels, each.card.classes, each.rankings)
    ]


def lists(
    evaluated: Sequence[Evaluated],
    labels: npt.NDArray[np.int64],
    reviewed: Review,
    records: Sequence[Record],
    split: Split,
) -> dict[str, tuple[Sequence[str], list[tuple[Any, ...]]]]:
    """Return header and rows of each file of `plots/tables`: curves of every candidate, failures of the best."""
    bins, recalls, risks = [], [], []
    for each in evaluated:
        name, right = each.card.name, each.predicted == labels
        found = reliability(each.probabilities, labels)
        bins += [(name, group.confidence, group.right / group.count, group.count) for group in found]
        if ranked := [ranking.precision for ranking in each.rankings if ranking]:
            recalls += [(name, *point) for point in zip(RECALLS, np.mean(ranked, axis=0), strict=True)]
        risks += [(name, *point) for point in risk_coverage(each.probabilities.max(axis=1), right)]
    doubtful = ("row", "picture", "split", "label", "label_probability", "predicted", "predicted_probability")
    contents: dict[str, tuple[Sequence[str], list[tuple[Any, ...]]]] = {
        "reliability": (("candidate", "confidence", "accuracy", "images"), bins),
        "precision_recall": (("candidate", "recall", "precision"), recalls),
        "risk_coverage": (("candidate", "coverage", "risk", "threshold"), risks),
        "confused": (("actual", "predicted", "images", "rate"), [astuple(pair) for pair in reviewed.confused]),
        "slices": (
            ("measure", "kind", "images", "accuracy", "accuracy_low", "accuracy_high", "majority", "p_value"),
            [astuple(part) for part in reviewed.slices],
        ),
        "mistakes": (doubtful, _doubtful(reviewed.mistakes, records, split)),
        "label_issues": (doubtful, _doubtful(reviewed.label_issues, records, split)),
    }
    return {name: (header, [_rounded(row) for row in rows]) for name, (header, rows) in contents.items()}


def _doubtful(found: Sequence[Disagreement], records: Sequence[Record], split: Split) -> list[tuple[Any, ...]]:
    return [(each.row, records[each.row].name, split.splits[each.row], *astuple(each)[1:]) for each in found[:MOST]]


def _rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(round(float(each), 6) if isinstance(each, float) else each for each in row)
