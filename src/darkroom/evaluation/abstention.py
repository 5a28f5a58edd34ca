"""Selective prediction: thresholds fitted on validation images and evaluated on test images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from darkroom.evaluation.checks import out_of_distribution
from darkroom.evaluation.evaluate import Evaluated
from darkroom.evaluation.scores.intervals import accuracy_interval
from darkroom.evaluation.settings import SelectSettings
from darkroom.packed import Split
from darkroom.predictor import Predictor
from darkroom.thresholds import NEEDS_INDEX, Outputs, Score, Thresholds, in_distribution_score

FIT_COUNT = 32
"""Out-of-distribution images of each kind for the fit: fewer than for the test, since every network predicts them."""
MAX_CONFIDENT = 0.1
"""Largest fraction of confident predictions on a kind of out-of-distribution images that the fit aims for."""
STEP = 0.005
"""Fraction of the validation images that each step of the search for a threshold excludes."""
POINTS = 200
"""Largest number of points of a curve."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class OutOfDistributionScores:
    """Separation of one kind of out-of-distribution images from the test images."""

    auroc: float
    """Probability that a test image scores higher than an out-of-distribution image: 0.5 is chance, 1 is perfect."""
    accepted: float
    """Fraction accepted as in-distribution."""
    confident: float
    """Fraction with a confident prediction, which is always wrong."""


@dataclass(frozen=True)
class SelectivePrediction:
    """Scores of selective prediction on the test images."""

    in_distribution: float
    """Fraction of the test images accepted as in-distribution."""
    confident: float
    """Fraction of the test images with a confident prediction."""
    confident_accuracy: float | None
    """Accuracy of the confident predictions with Wilson's 95% interval; None if there are none."""
    confident_accuracy_low: float | None
    confident_accuracy_high: float | None
    out_of_distribution: dict[str, OutOfDistributionScores]
    """By kind of image."""


def fit_each(
    networks: Sequence[Evaluated], store: Path, images: Images, split: Split, settings: SelectSettings, seed: int
) -> dict[str, Thresholds]:
    """Return the thresholds by network, fitted on validation images and on out-of-distribution images made from them.

    store: the folder of the candidates; images: the packed images, shape (N, S, S, 3).
    """
    kinds = out_of_distribution.generated(images[split.rows("validation")], seed, FIT_COUNT)
    thresholds = {}
    for each in networks:
        predictor = Predictor(store / each.card.name)
        outside = {kind: predictor.outputs_in_parts(part) for kind, part in kinds.items()}
        shares = settings.coverage, settings.least_coverage
        thresholds[each.card.name] = fit(each.predictions.outputs, outside, each.temperature, *shares)
    return thresholds


def evaluate_on_test(
    best: Evaluated, thresholds: Thresholds, folder: Path, images: Images, split: Split, seed: int
) -> SelectivePrediction:
    """Evaluate `thresholds` on the test images and on out-of-distribution images that were not used for fitting.

    folder: that of the candidate `best`.
    """
    test = split.rows("test")
    kinds = out_of_distribution.bundled(images.shape[1], split.classes, seed)
    kinds |= out_of_distribution.generated(images[test], seed + 1)
    predictor = Predictor(folder)
    outside = {kind: predictor.outputs_in_parts(part) for kind, part in kinds.items()}
    outputs = Outputs(best.predictions.test, best.predictions.test_similarity)
    return measure(thresholds, best.temperature, outputs, best.predicted == split.labels[test], outside)


def fit(
    validation: Outputs, outside: Mapping[str, Outputs], temperature: float, coverage: float, least: float
) -> Thresholds:
    """Return the thresholds at which a fraction `coverage` of the validation images has confident predictions.

    validation: what the network gives for these; outside: for out-of-distribution images, by kind. Of the scores, the
    one that best separates validation from out-of-distribution images is used (by the area under the ROC curve; on a
    tie, the first one of `Score`); no labels are needed. At most half of the validation images without a confident
    prediction are classified as out-of-distribution; the others only have low confidence.

    If more than `MAX_CONFIDENT` of a kind of out-of-distribution images would get confident predictions, the threshold
    `known` is raised until no more than that do, or until the fraction of validation images with confident predictions
    has fallen to `least`. Thresholds are rounded down to six digits, so that the image that defines one still reaches
    it.
    """
    together = Outputs.concatenated(list(outside.values()))
    complete = validation.similarity is not None and together.similarity is not None
    usable = [each for each in get_args(Score) if complete or each not in NEEDS_INDEX]
    weight = _energy_weight(validation, temperature) if complete else 0.0
    score: Score = max(usable, key=lambda each: _auroc(validation, together, temperature, each, weight))
    weight = weight if score == "neighbors_energy" else 0.0
    scores = in_distribution_score(validation, temperature, score, weight)
    largest = in_distribution_score(validation, temperature, "max_probability")
    known = _threshold(scores, (1 + coverage) / 2)
    confident = _threshold(np.where(scores >= known, largest, 0.0), coverage)
    for share in np.arange((1 + coverage) / 2, 0, -STEP):
        stricter = Thresholds(score, _threshold(scores, float(share)), confident, 1.0, weight)
        if (stricter.verdicts(validation, temperature)[1]).mean() < min(coverage, least):
            break
        known = stricter.known
        if max(stricter.verdicts(part, temperature)[1].mean() for part in outside.values()) <= MAX_CONFIDENT:
            break
    _, accepted = Thresholds(score, known, confident, 1.0, weight).verdicts(validation, temperature)
    return Thresholds(score, known, confident, float(accepted.mean()), weight)


def measure(
    thresholds: Thresholds,
    temperature: float,
    test: Outputs,
    right: npt.NDArray[np.bool_],
    outside: Mapping[str, Outputs],
) -> SelectivePrediction:
    """Score selective prediction on the test images and on out-of-distribution images by kind.

    test: what the network gives for these; right: shape (rows,), whether each test image is classified correctly.
    """
    known, confident = thresholds.verdicts(test, temperature)
    count, hits = int(confident.sum()), int(right[confident].sum())
    interval = accuracy_interval(hits, count) if count else (None, None)
    outside_scores = {}
    for kind, outputs in outside.items():
        accepted, answered = thresholds.verdicts(outputs, temperature)
        auroc = _auroc(test, outputs, temperature, thresholds.score, thresholds.energy_weight)
        outside_scores[kind] = OutOfDistributionScores(auroc, float(accepted.mean()), float(answered.mean()))
    return SelectivePrediction(
        in_distribution=float(known.mean()),
        confident=float(confident.mean()),
        confident_accuracy=hits / count if count else None,
        confident_accuracy_low=interval[0],
        confident_accuracy_high=interval[1],
        out_of_distribution=outside_scores,
    )


def risk_coverage(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> list[tuple[float, float, float]]:
    """Return up to `POINTS` of (coverage, risk, threshold): risk is the error rate on the most confident rows.

    confidence, right: shape (rows,). El-Yaniv and Wiener, On the Foundations of Noise-free Selective
    Classification, 2010. Rows of the same confidence are accepted together.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    errors = np.cumsum(~right[order])
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).round().astype(int))]
    rows = len(confidence)
    return [(float((end + 1) / rows), float(errors[end] / (end + 1)), float(ordered[end])) for end in chosen]


def _threshold(scores: npt.NDArray[np.float64], share: float) -> float:
    """Return the highest threshold, rounded down, that at least a fraction `share` of `scores` reaches."""
    count = max(1, math.ceil(share * len(scores) - 1e-9))
    return math.floor(float(np.sort(scores)[-count]) * 1e6) / 1e6


def _energy_weight(validation: Outputs, temperature: float) -> float:
    """Return the weight at which energy and similarity vary equally over the validation images, to six digits."""
    assert validation.similarity is not None
    spread = in_distribution_score(validation, temperature, "energy").std()
    return float(f"{validation.similarity.std(dtype=np.float64) / max(spread, 1e-9):.6g}")


def _auroc(known: Outputs, others: Outputs, temperature: float, score: Score, weight: float) -> float:
    scores = np.concatenate([in_distribution_score(part, temperature, score, weight) for part in (known, others)])
    # The last digits of logits depend on the processor and must not change the ranking.
    return float(roc_auc_score(np.arange(len(scores)) < len(known.logits), scores.round(5)))
