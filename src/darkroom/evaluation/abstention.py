"""Fitting when to doubt, on validation, and measuring on test what that is worth."""

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
from darkroom.thresholds import Score, Thresholds, known_score

FITTED = 32
"""Outsiders of each kind that a fit asks about: every network answers them, so they are fewer than for the test."""
PASSING = 0.1
"""Share of a kind of outsiders that may get confident answers where the threshold can be chosen so."""
STEP = 0.005
"""Share of the validation images by which the threshold rises until then."""
POINTS = 200
"""Most points of a curve."""

Images = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ForeignScores:
    """How well one kind of outsiders is told from the test images."""

    auroc: float
    """Chance that a test image scores higher than an outsider: 0.5 is guessing, 1 never errs."""
    accepted: float
    """Share of the outsiders that is taken for pictures of the classes."""
    confident: float
    """Share of the outsiders that gets a confident answer, though any answer is wrong."""


@dataclass(frozen=True)
class SelectivePrediction:
    """What doubting is worth on test."""

    in_distribution: float
    """Share of the test images that is taken for what it is: a picture of the classes."""
    confident: float
    """Share of the test images that gets a confident answer."""
    confident_accuracy: float | None
    """Accuracy of the confident answers with Wilson's 95% interval; None where there are none."""
    confident_accuracy_low: float | None
    confident_accuracy_high: float | None
    out_of_distribution: dict[str, ForeignScores]
    """By kind."""


def fit_each(
    networks: Sequence[Evaluated], store: Path, images: Images, split: Split, settings: SelectSettings, seed: int
) -> dict[str, Thresholds]:
    """Return when to doubt each network, by name, fitted on validation images and on outsiders drawn from them.

    store: the folder of the candidates; images: the packed ones, shape (N, S, S, 3).
    """
    foreign = out_of_distribution.drawn(images[split.rows("validation")], seed, FITTED)
    thresholds = {}
    for each in networks:
        predictor = Predictor(store / each.card.name)
        met = {kind: predictor.logits_in_parts(part) for kind, part in foreign.items()}
        shares = settings.coverage, settings.least_coverage
        thresholds[each.card.name] = fit(each.predictions.validation, met, each.temperature, *shares)
    return thresholds


def try_out(
    best: Evaluated, thresholds: Thresholds, folder: Path, images: Images, split: Split, seed: int
) -> SelectivePrediction:
    """Return what `doubt` is worth to `best` in `folder`: on test, against outsiders that the fit has not seen."""
    test = split.rows("test")
    kinds = out_of_distribution.elsewhere(images.shape[1], split.classes, seed) | out_of_distribution.drawn(
        images[test], seed + 1
    )
    predictor = Predictor(folder)
    met = {kind: predictor.logits_in_parts(foreign) for kind, foreign in kinds.items()}
    return measure(thresholds, best.temperature, best.predictions.test, best.predicted == split.labels[test], met)


def fit(
    validation: Logits, foreign: Mapping[str, Logits], temperature: float, coverage: float, least: float
) -> Thresholds:
    """Return the thresholds under which `coverage` of the validation images, 0 to 1, get confident answers.

    validation: shape (rows, classes); outsiders: the same by kind. The score is the one that better tells validation
    images from outsiders (by the area under the ROC curve; the largest probability where both do alike); labels are
    not asked. Of the images that get no confident answer, half may be taken for outsiders; the others are unsure.

    Where more than `PASSING` of a kind of outsiders would get confident answers, more images are taken for outsiders,
    until no more than that pass, or until only `least` of the validation images get confident answers. Thresholds are
    rounded down at the sixth digit, so that no image that sets one falls below it.
    """
    together = np.concatenate(list(foreign.values()))
    score: Score = max(get_args(Score), key=lambda each: _auroc(validation, together, temperature, each))
    scores = known_score(validation, temperature, score)
    sure = known_score(validation, temperature, "max_probability")
    known = _threshold(scores, (1 + coverage) / 2)
    confident = _threshold(np.where(scores >= known, sure, 0.0), coverage)
    for share in np.arange((1 + coverage) / 2, 0, -STEP):
        tried = Thresholds(score, _threshold(scores, float(share)), confident, 1.0)
        if (tried.verdicts(validation, temperature)[1]).mean() < min(coverage, least):
            break
        known = tried.known
        if max(tried.verdicts(part, temperature)[1].mean() for part in foreign.values()) <= PASSING:
            break
    _, accepted = Thresholds(score, known, confident, 1.0).verdicts(validation, temperature)
    return Thresholds(score, known, confident, float(accepted.mean()))


def measure(
    thresholds: Thresholds,
    temperature: float,
    test: Logits,
    right: npt.NDArray[np.bool_],
    foreign: Mapping[str, Logits],
) -> SelectivePrediction:
    """Return what `doubt` is worth: on the test images, and against outsiders by kind.

    test: shape (rows, classes); right: shape (rows,), whether each test image is answered rightly.
    """
    known, confident = thresholds.verdicts(test, temperature)
    count, hits = int(confident.sum()), int(right[confident].sum())
    interval = accuracy_interval(hits, count) if count else (None, None)
    foreign_scores = {}
    for kind, logits in foreign.items():
        accepted, sure = thresholds.verdicts(logits, temperature)
        auroc = _auroc(test, logits, temperature, thresholds.score)
        foreign_scores[kind] = ForeignScores(auroc, float(accepted.mean()), float(sure.mean()))
    return SelectivePrediction(
        in_distribution=float(known.mean()),
        confident=float(confident.mean()),
        confident_accuracy=hits / count if count else None,
        confident_accuracy_low=interval[0],
        confident_accuracy_high=interval[1],
        out_of_distribution=foreign_scores,
    )


def risk_coverage(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]
) -> list[tuple[float, float, float]]:
    """Return (coverage, risk, threshold), up to `POINTS`: the share of errors among the surest share of the rows.

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
    """Return the highest threshold, rounded down, that at least `share` of `scores` reaches."""
    count = max(1, math.ceil(share * len(scores) - 1e-9))
    return math.floor(float(np.sort(scores)[-count]) * 1e6) / 1e6


def _auroc(known: Logits, others: Logits, temperature: float, score: Score) -> float:
    scores = np.concatenate([known_score(part, temperature, score) for part in (known, others)])
    # Logits of another processor differ in their last digits, which must not swap ranks.
    return float(roc_auc_score(np.arange(len(scores)) < len(known), scores.round(5)))
