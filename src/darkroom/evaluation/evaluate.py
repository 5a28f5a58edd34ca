"""Evaluation of a candidate: calibration on validation, and scores on test."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.candidate import Card, Epoch, Folds, Predictions
from darkroom.evaluation.scores.calibration import fit_temperature
from darkroom.evaluation.scores.detail import Detailed, Uncalibrated, score_in_detail, score_uncalibrated
from darkroom.evaluation.scores.intervals import DRAWS, Bootstrap
from darkroom.evaluation.scores.metrics import Scores, score
from darkroom.evaluation.scores.ranking import Ranking, rank_classes
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import SPLITS, Split, SplitName


@dataclass(frozen=True)
class Evaluated:
    """A candidate with its scores."""

    card: Card
    temperature: float
    """Fitted on validation, or on all out-of-fold predictions."""
    overconfidence: float
    """Mean confidence on validation at temperature 1, minus the accuracy: -1 to 1."""
    validation: Scores
    validation_right: npt.NDArray[np.bool_]
    """Whether each validation row is classified correctly."""
    test: Detailed
    uncalibrated: Uncalibrated
    """On test, at temperature 1."""
    rankings: list[Ranking | None]
    """Of each class on test."""
    predictions: Predictions
    """The logits."""
    probabilities: npt.NDArray[np.float64]
    """Calibrated, on test: shape (test rows, classes)."""
    predicted: npt.NDArray[np.int64]
    """The most probable class of each test row."""
    history: list[Epoch]
    leaks: int = 0
    """Test images of which the source has a copy among its training or validation images."""
    without_leaks: Detailed | None = None
    """Scores on the other test images; None if all are leaks or none is."""
    folds: Folds | None = None
    """Cross-validation scores; None if not requested, and for networks trained by epochs."""


@dataclass(frozen=True)
class Resamples:
    """The same resamples for every candidate."""

    test: Bootstrap
    """Of the test split."""
    clean: Bootstrap | None
    """Of the test images that are not leaks; None like `Evaluated.without_leaks`."""


def resample(split: Split, seed: int, draws: int = DRAWS) -> Resamples:
    """Draw the bootstrap resamples for `evaluate`."""
    leaks = split.leaks[split.rows("test")]
    clean = Bootstrap(int((~leaks).sum()), seed, draws) if leaks.any() and not leaks.all() else None
    return Resamples(Bootstrap(len(leaks), seed, draws), clean)


def evaluate(folder: Path, split: Split, resamples: Resamples) -> Evaluated:
    """Evaluate the candidate in `folder` on `split`; `resamples` must be those of the same split.

    Raises DarkroomError if the candidate is missing, was trained on another split, or has predictions that are NaN
    or infinite.
    """
    if not (folder / "card.json").is_file():
        raise DarkroomError(f"{folder} contains no candidate: run `dvc repro` first")
    card = candidate.read_card(folder)
    predictions = candidate.read_predictions(folder)
    labels = {name: split.labels[split.rows(name)] for name in SPLITS}
    held_out = predictions.held_out
    given: dict[SplitName, npt.NDArray[np.float32]] = {**held_out, "test": predictions.test}
    for name, logits in given.items():
        _check(card, name, logits, len(labels[name]), split.classes)
    temperature = fit_temperature(
        np.concatenate(list(held_out.values())), np.concatenate([labels[name] for name in held_out])
    )
    validation = candidate.softmax(predictions.validation, temperature)
    test = candidate.softmax(predictions.test, temperature)
    predicted = test.argmax(axis=1).astype(np.int64)
    right = validation.argmax(axis=1) == labels["validation"]
    rankings = rank_classes(test, labels["test"])
    without_leaks = None
    if resamples.clean:
        kept = ~split.leaks[split.rows("test")]
        rest = test[kept], labels["test"][kept]
        without_leaks = score_in_detail(*rest, rank_classes(*rest), resamples.clean)
    return Evaluated(
        card=card,
        temperature=temperature,
        overconfidence=float(candidate.softmax(predictions.validation).max(axis=1).mean() - right.mean()),
        validation=score(validation, labels["validation"]),
        validation_right=right,
        test=score_in_detail(test, labels["test"], rankings, resamples.test),
        uncalibrated=score_uncalibrated(candidate.softmax(predictions.test), labels["test"]),
        rankings=[ranking and ranking.compact() for ranking in rankings],
        predictions=predictions,
        probabilities=test,
        predicted=predicted,
        history=candidate.read_history(folder),
        leaks=int(split.leaks[split.rows("test")].sum()),
        without_leaks=without_leaks,
        folds=candidate.read_folds(folder),
    )


def check_same_data(cards: Iterable[Card]) -> None:
    """Raise DarkroomError if candidates were trained on different data and cannot be compared."""
    first, *others = cards
    for card in others:
        if card.data != first.data:
            raise DarkroomError(
                f"{card.name} and {first.name} were trained on different data "
                f"({card.data[:12]}… and {first.data[:12]}…): run `dvc repro`, which retrains the older one"
            )


def _check(card: Card, name: str, logits: npt.NDArray[np.float32], rows: int, classes: list[str]) -> None:
    if card.classes != classes or logits.shape != (rows, len(classes)):
        raise DarkroomError(
            f"{card.name}: {name} predictions of shape {logits.shape} for {len(card.classes)} classes do not "
            f"match the split with {rows} images of {len(classes)}: run `dvc repro`, which retrains it"
        )
    if np.isnan(logits).any() or np.isposinf(logits).any():
        raise DarkroomError(f"{card.name}: {name} predictions are NaN or infinite: lower its learning_rate")
