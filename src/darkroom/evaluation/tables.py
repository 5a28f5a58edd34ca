"""The evaluation as JSON and tables, for DVC and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from darkroom import plot_labels
from darkroom.candidate_names import BASELINE
from darkroom.evaluation.abstention import SelectivePrediction, risk_coverage
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.failures.mistakes import Disagreement, Pair
from darkroom.evaluation.failures.review import Review
from darkroom.evaluation.failures.slices import Slice
from darkroom.evaluation.scores.calibration import reliability
from darkroom.evaluation.scores.comparison import Comparison
from darkroom.evaluation.scores.detail import Detailed
from darkroom.evaluation.scores.metrics import score_classes
from darkroom.evaluation.scores.ranking import RECALLS
from darkroom.evaluation.selection import Choice
from darkroom.packed import Record, Split
from darkroom.thresholds import Thresholds

DIGITS = 10
"""Decimal digits of the scores, few enough that different processors agree."""
HEADLINE_DIGITS = 4
"""Decimal digits of the metrics that a reviewer compares, few enough to hide the rounding of processors."""
MOST = 500
"""Largest number of listed images."""


def evaluation(
    evaluated: Sequence[Evaluated],
    best: Evaluated,
    comparisons: Mapping[str, Comparison],
    thresholds: Mapping[str, Thresholds],
    selective: SelectivePrediction,
) -> dict[str, Any]:
    """Return `plots/tables/scores.json`, whose leaves are single values, as described in docs/evaluation.md.

    comparisons: each candidate compared with the best; thresholds: those of the networks. Keys with the value None are
    omitted.
    """
    document = {
        "best": {
            "name": best.card.name,
            "test_accuracy": best.test.accuracy,
            "test_accuracy_low": best.test.accuracy_low,
            "test_accuracy_high": best.test.accuracy_high,
            "versus_baseline": asdict(comparisons[BASELINE].turned()),
            "selective_prediction": asdict(selective),
        },
        "candidates": {each.card.name: _candidate(each, comparisons, thresholds) for each in evaluated},
    }
    tidy: dict[str, Any] = _tidy(document)
    return tidy


def headline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metrics/evaluation.json`, the metrics that a reviewer compares, from the result of `evaluation`.

    `dvc metrics diff` prints a row for each leaf that differs, so there are only a few, rounded to significant changes.
    """
    best = scores["best"]
    test = scores["candidates"][best["name"]]["test"]
    bounded = [f"{name}{bound}" for name in ("accuracy", "macro_f1") for bound in ("", "_low", "_high")]
    lead = {
        "name": best["name"],
        **{f"test_{name}": test[name] for name in (*bounded, "log_loss", "ece") if name in test},
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
    """Return scores by name, with the bounds of their intervals."""
    values = asdict(scores)
    for name, (low, high) in values.pop("intervals").items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    return values


def _tidy(value: Any, digits: int = DIGITS) -> Any:
    """Return `value` without None in mappings and with rounded floats, so that different processors give equal text."""
    if isinstance(value, dict):
        return {key: _tidy(each, digits) for key, each in value.items() if each is not None}
    return round(value, digits) if isinstance(value, float) else value


def choice(chosen: Choice, metric: str) -> dict[str, Any]:
    """Return `models/best.json`."""
    chosen_by = {
        "name": chosen.best.card.name,
        "metric": metric,
        "value": chosen.value,
        "reason": chosen.reason,
    }
    return dict(_tidy(chosen_by))


def curves(evaluated: Sequence[Evaluated]) -> pd.DataFrame:
    """Return `plots/learning_curves.csv`."""
    rows = [(each.card.name, *astuple(epoch)) for each in evaluated for epoch in each.history]
    return pd.DataFrame(rows, columns=("candidate", "epoch", "train_loss", "validation_loss", "validation_accuracy"))


def confusion(best: Evaluated, labels: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return `plots/confusion.csv`, one row per test image."""
    names = np.array([plot_labels.defuse(name) for name in best.card.classes], dtype=object)
    return pd.DataFrame({"actual": names[labels], "predicted": names[best.predicted]})


def per_class(evaluated: Sequence[Evaluated], labels: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return `plots/per_class.csv`: test scores, empty for classes without test images."""
    rows = [
        (each.card.name, *astuple(scores))
        for each in evaluated
        for scores in score_classes(each.predicted, labels, each.card.classes, each.rankings)
    ]
    scores = ("support", "precision", "recall", "f1", "roc_auc", "average_precision", "p_value")
    return pd.DataFrame(rows, columns=("candidate", "class", *scores))


def lists(
    evaluated: Sequence[Evaluated],
    labels: npt.NDArray[np.int64],
    reviewed: Review,
    records: Sequence[Record],
    split: Split,
) -> dict[str, pd.DataFrame]:
    """Return the tables of `plots/tables` by name: curves of every candidate, failures of the best."""
    bins, recalls, risks = [], [], []
    for each in evaluated:
        name, right = each.card.name, each.predicted == labels
        found = reliability(each.probabilities, labels)
        bins += [(name, group.confidence, group.right / group.count, group.count) for group in found]
        if ranked := [ranking.precision for ranking in each.rankings if ranking]:
            recalls += [(name, *point) for point in zip(RECALLS, np.mean(ranked, axis=0), strict=True)]
        risks += [(name, *point) for point in risk_coverage(each.probabilities.max(axis=1), right)]
    contents = {
        "reliability": pd.DataFrame(bins, columns=("candidate", "confidence", "accuracy", "images")),
        "precision_recall": pd.DataFrame(recalls, columns=("candidate", "recall", "precision")),
        "risk_coverage": pd.DataFrame(risks, columns=("candidate", "coverage", "risk", "threshold")),
        "confused": _table(reviewed.confused, Pair).rename(columns={"count": "images"}),
        "slices": _table(reviewed.slices, Slice),
        "mistakes": _doubtful(reviewed.mistakes, records, split),
    }
    return {name: _rounded(frame) for name, frame in contents.items()}


def _table(found: Sequence[Any], kind: type[Any]) -> pd.DataFrame:
    """Return a table with the fields of the dataclass `kind` as columns, also if it is empty."""
    return pd.DataFrame(map(astuple, found), columns=[field.name for field in fields(kind)])


def _doubtful(found: Sequence[Disagreement], records: Sequence[Record], split: Split) -> pd.DataFrame:
    frame = _table(found[:MOST], Disagreement)
    frame.insert(1, "picture", [records[row].name for row in frame["row"]])
    frame.insert(2, "split", split.splits[frame["row"].astype(int)])
    return frame


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    # Rounded by Python: NumPy multiplies first, so that some last digits differ.
    columns = frame.select_dtypes("float").columns
    return frame.assign(**{name: frame[name].map(lambda value: round(value, 6)) for name in columns})
