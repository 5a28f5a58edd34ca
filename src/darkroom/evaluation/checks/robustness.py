"""Accuracy of the best candidate on corrupted images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csc_array

from darkroom.evaluation.checks.corruptions import ALL, STRENGTHS
from darkroom.evaluation.scores.intervals import (
    Bootstrap,
    Interval,
    accuracy_interval,
    percentile_interval,
    unless_perfect,
)
from darkroom.packed import Split
from darkroom.predictor import Predictor

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Robustness:
    """Whether each image is classified correctly, bool, shape (rows,): uncorrupted, and by corruption and strength."""

    clean: npt.NDArray[np.bool_]
    corrupted: dict[str, list[npt.NDArray[np.bool_]]]

    def accuracies(self) -> dict[str, list[float]]:
        """Return the accuracy by corruption, one value per strength from 1."""
        return {name: [float(right.mean()) for right in rights] for name, rights in self.corrupted.items()}

    def mean(self) -> float:
        """Return the mean corruption accuracy: over all corruptions and strengths."""
        return float(self._shares().mean())

    def interval(self, seed: int) -> Interval:
        """Return the 95% interval of `mean`, from a bootstrap over the images."""
        shares = self._shares()
        rows = len(shares)
        means = Bootstrap(rows, seed).sums(csc_array(shares[:, np.newaxis]))[:, 0] / rows
        return unless_perfect(percentile_interval(means), rows)

    def _shares(self) -> npt.NDArray[np.float64]:
        """Return the share of correctly classified corruptions of each image, shape (rows,)."""
        shares: npt.NDArray[np.float64] = np.mean([right for rights in self.corrupted.values() for right in rights], 0)
        return shares


def pick(split: Split, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Return up to `most` packed rows of test images, ascending: all of them or a random sample."""
    test = split.rows("test")
    if len(test) <= most:
        return test
    return np.sort(np.random.default_rng(seed).choice(test, most, replace=False))


def measure(predictor: Predictor, images: Images, labels: npt.NDArray[np.int64], seed: int) -> Robustness:
    """Classify each corruption of `images`, uint8, shape (rows, S, S, 3); labels: shape (rows,)."""

    def correct(inputs: Images) -> npt.NDArray[np.bool_]:
        hits: npt.NDArray[np.bool_] = predictor.logits_in_parts(inputs).argmax(axis=1) == labels
        return hits

    corrupted = {
        name: [
            correct(corrupt(images, strength, _random(seed, place, strength))) for strength in range(1, STRENGTHS + 1)
        ]
        for place, (name, corrupt) in enumerate(ALL.items())
    }
    return Robustness(correct(images), corrupted)


def examples(image: Images, seed: int) -> tuple[list[Images], list[list[str]]]:
    """Return one image, uint8, shape (S, S, 3), under every corruption and strength, row by row, with captions."""
    corrupted, captions = [], []
    for place, (name, corrupt) in enumerate(ALL.items()):
        for strength in range(1, STRENGTHS + 1):
            corrupted.append(corrupt(image[np.newaxis], strength, _random(seed, place, strength))[0])
            captions.append([f"{name} {strength}"])
    return corrupted, captions


def summarise(found: Robustness, seed: int) -> dict[str, object]:
    """Return `plots/robustness/summary.json`."""
    low, high = found.interval(seed)
    clean = int(found.clean.sum())
    clean_low, clean_high = accuracy_interval(clean, len(found.clean))
    return {
        "images": len(found.clean),
        "clean_accuracy": round(clean / len(found.clean), 10),
        "clean_accuracy_low": round(clean_low, 10),
        "clean_accuracy_high": round(clean_high, 10),
        "mean_corruption_accuracy": round(found.mean(), 10),
        "mean_corruption_accuracy_low": round(low, 10),
        "mean_corruption_accuracy_high": round(high, 10),
        "corruptions": {name: round(float(np.mean(values)), 10) for name, values in found.accuracies().items()},
    }


def curve(found: Robustness) -> pd.DataFrame:
    """Return `plots/robustness/robustness.csv`: corruption, strength, accuracy and its Wilson interval."""
    rows = len(found.clean)
    lines = []
    for name, rights in found.corrupted.items():
        for strength, right in enumerate([found.clean, *rights]):
            low, high = accuracy_interval(int(right.sum()), rows)
            lines.append((name, strength, round(float(right.mean()), 6), round(low, 6), round(high, 6)))
    return pd.DataFrame(lines, columns=("corruption", "strength", "accuracy", "accuracy_low", "accuracy_high"))


def _random(seed: int, place: int, strength: int) -> np.random.Generator:
    """Return a separate generator for each corruption and strength, so that adding one does not change the others."""
    return np.random.default_rng((seed, place, strength))
