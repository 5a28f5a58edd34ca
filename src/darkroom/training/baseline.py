"""The baseline: HOG features and multinomial logistic regression."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from PIL import Image
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from darkroom.training.settings import BaselineSettings

SIDE = 32
"""Smaller images are enlarged to this side: gradients in cells of two pixels are noise (benchmarks/RESULTS.md)."""
ITERATIONS = 200
"""Largest number of iterations of the solver."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """A fitted linear classifier on standardised features."""

    weights: Floats
    """Shape (features, classes)."""
    bias: Floats
    """Shape (classes,)."""
    strength: float
    """The inverse regularisation strength C selected on validation."""

    def logits(self, features: Floats) -> Floats:
        """Return float32 logits, shape (N, classes), for features of shape (N, features)."""
        result: Floats = features @ self.weights + self.bias
        return result


def features(images: npt.NDArray[np.uint8], settings: BaselineSettings) -> Floats:
    """Return histograms of oriented gradients, shape (N, features), for uint8 images (N, S, S, 3).

    N. Dalal and B. Triggs, Histograms of oriented gradients for human detection, 2005, computed by
    scikit-image, with `cells` cells along each side.
    """
    chunks = np.array_split(np.arange(len(images)), max(1, len(images) // 500))
    jobs = (delayed(_features)(images[chunk], settings) for chunk in chunks)
    parts = Parallel(n_jobs=1 if len(chunks) < 8 else os.cpu_count())(jobs)
    return np.concatenate(parts)


def _features(images: npt.NDArray[np.uint8], settings: BaselineSettings) -> Floats:
    if images.shape[1] < SIDE:
        images = np.stack([_enlarged(image) for image in images])
    side = images.shape[1] // min(settings.cells, images.shape[1] // 2)
    rows = [
        hog(
            image,
            orientations=settings.orientations,
            pixels_per_cell=(side, side),
            cells_per_block=(2, 2),
            channel_axis=-1,
        )
        for image in images
    ]
    return np.asarray(rows, dtype=np.float32)


def _enlarged(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def fit(
    train: tuple[Floats, npt.NDArray[np.int64]],
    validation: tuple[Floats, npt.NDArray[np.int64]],
    classes: int,
    settings: BaselineSettings,
    balanced: bool = False,
) -> Linear:
    """Fit one classifier per strength and return the one with the lowest log loss on validation.

    `train` and `validation` are (features, labels). With `balanced`, all classes have equal weight. The solver is
    deterministic.
    """
    scaler = StandardScaler().fit(train[0])
    scaled, evaluated = scaler.transform(train[0]), scaler.transform(validation[0])
    best, best_loss = None, float("inf")
    for strength in settings.strengths:
        weights = "balanced" if balanced else None
        model = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-3, class_weight=weights)
        model.fit(scaled, train[1])
        loss = log_loss(validation[1], model.predict_proba(evaluated), labels=range(classes))
        if loss < best_loss:
            best, best_loss = (model, strength), loss
    assert best is not None  # strengths is never empty
    return _without_scaler(*best, scaler)


def _without_scaler(model: LogisticRegression, strength: float, scaler: StandardScaler) -> Linear:
    """Fold the standardisation into the weights, so that the classifier accepts unscaled features."""
    coefficients, intercept = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the difference of the two
        coefficients, intercept = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.hstack([-intercept, intercept]) / 2,
        )
    weights = coefficients / scaler.scale_
    bias = intercept - weights @ scaler.mean_
    return Linear(weights.T.astype(np.float32), bias.astype(np.float32), strength)
