"""A last layer for small data sets: fitted to training and validation images, judged by folds of them.

With few validation images, their choice of a penalty and of a temperature is noisy, and fitting to them as well makes
a better layer. Such a layer must never be evaluated on them. So each image also gets logits from a layer that was
fitted without its fold, with the same penalty: these choose the penalty, and stand for the layer's answers to unknown
images wherever validation images are used.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold

from darkroom.training.transfer import probe
from darkroom.training.transfer.cache import Features
from darkroom.training.transfer.probe import Floats, Head, Labels, Solver

FEW = 1_000
"""Number of validation images from which on they choose the penalty alone."""
MANY = 20_000
"""Number of training images from which on the validation images would add little to them."""
FOLDS = 5
PRODUCTS = 2**31
"""Largest number of multiplications per step of a fit, of which there are hundreds per fold."""

Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Positions of the images that a layer is fitted to, and of those that it is evaluated on."""


@dataclass(frozen=True)
class Fitted:
    """A layer fitted to all images."""

    head: Head
    """Its loss and accuracy are those of `logits`."""
    logits: Floats
    """Of each image, by a layer that was fitted without its fold: shape (images, classes)."""


def suits(training: int, validation: int, values: int, classes: int) -> bool:
    """Return whether the penalty is to be chosen by folds; `values`: features per training image, over all views."""
    products = (training + validation) * values * classes
    return validation < FEW and training < MANY and products <= PRODUCTS


def divide(labels: Labels, groups: npt.NDArray[np.int64], classes: int, seed: int) -> list[Fold]:
    """Return up to `FOLDS` stratified folds that keep groups together; none if a class cannot be divided."""
    count = min(FOLDS, *(len(np.unique(groups[labels == number])) for number in range(classes)))
    if count < 2:
        return []
    divider = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = list(divider.split(labels, labels, groups))
    complete = all(len(np.unique(labels[fitted])) == classes and len(evaluated) for fitted, evaluated in folds)
    return folds if complete else []


def fit(
    views: list[Features], labels: Labels, folds: list[Fold], classes: int, balanced: bool, intercept: bool
) -> Fitted:
    """Return the layer whose penalty gives the lowest loss over all folds, fitted to all images.

    views: features of the plain images and, if they are also fitted to, of the mirrored ones, each of shape (images,
    values); only the plain ones are evaluated. balanced, intercept: as in `probe.fit`.
    """
    solvers = [Solver(classes, balanced, intercept) for _ in folds]
    scales = [probe.scaling(_together(views, fitted), intercept) for fitted, _ in folds]

    def held_out(number: int, strength: float) -> Floats:
        """Return the logits of the images of a fold."""
        fitted, evaluated = folds[number]
        # Scaled anew for each penalty: scaled copies would need twice the memory all the time.
        features = scales[number].apply(_together(views, fitted))
        weight, bias = solvers[number].fit(features, np.tile(labels[fitted], len(views)), strength)
        result: Floats = scales[number].apply(views[0][evaluated]) @ weight.T + bias
        return result

    best: tuple[float, float, Floats] | None = None
    waited = 0
    everything = _together(views, np.arange(len(labels)))
    # A step of a fold is small enough for one thread of BLAS, so the folds are computed side by side.
    workers = min(len(folds), torch.get_num_threads(), max(1, probe.VALUES // everything.size))
    with probe.solving(PRODUCTS), ThreadPoolExecutor(workers) as threads:
        for strength in probe.STRENGTHS:
            logits = np.empty((len(labels), classes), dtype=np.float32)
            found = threads.map(held_out, range(len(folds)), [strength] * len(folds))
            for (_, evaluated), each in zip(folds, found, strict=True):
                logits[evaluated] = each
            loss = probe.cross_entropy(logits, labels)
            waited += 1
            if best is None or loss < best[0]:
                best, waited = (loss, strength, logits), 0
            if waited == probe.IN_VAIN:
                break
        assert best is not None
        loss, strength, logits = best
        scale = probe.scaling(everything, intercept)
        targets = np.tile(labels, len(views))
        weight, bias = Solver(classes, balanced, intercept).fit(scale.apply(everything), targets, strength)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return Fitted(Head(*scale.unscaled(weight, bias), strength, loss, accuracy), logits)


def _together(views: list[Features], positions: npt.NDArray[np.int64]) -> Features:
    return np.concatenate([view[positions] for view in views])
