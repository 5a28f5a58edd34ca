"""A new last layer on frozen features: multinomial logistic regression, its penalty selected on held-out images.

The linear probe of Alain and Bengio, arXiv 1610.01644, fitted to convergence by L-BFGS.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from darkroom.training.transfer.cache import Features

STRENGTHS = tuple(float(f"{10**exponent:.1g}") for exponent in np.arange(2, -5.1, -0.5))
"""L2 penalties to try, strongest first: factors of half the squared weights, added to the mean loss per image."""
USUAL = tuple(strength for strength in STRENGTHS if strength <= 1)
"""Those for a layer that is only the start of fine-tuning."""
IN_VAIN = 2
"""Number of penalties without improvement after which the search stops."""
ITERATIONS = 500
"""Largest number of solver iterations per penalty; each starts from the previous solution."""

TOLERANCE = 1e-5
"""Gradient, relative to the loss, at which a fit has converged."""

SMALL = 5_000_000_000
"""Multiplications per step below which BLAS uses only one thread: on a busy machine, its threads wait for one another
ten times as long as a step of 10⁸ takes, and four times as long as one of 10⁹."""

VALUES, PRODUCTS = 2**28, 2**35
"""Limits on the feature values for fitting a head (1 GB in float32) and on the multiplications per step: with a
thousand classes, one to two seconds on two cores."""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """A fitted last layer: logits are `features @ weight.T + bias`."""

    weight: Floats
    """Shape (classes, values)."""
    bias: Floats
    """Shape (classes,)."""
    strength: float
    loss: float
    """Cross-entropy on held-out images, in nats."""
    accuracy: float
    """Accuracy on held-out images, 0 to 1."""

    def write(self, layer: nn.Linear, scale: float = 1.0) -> None:
        """Copy the weights to a layer whose output is multiplied by `scale`."""
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight / scale))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(self.bias / scale))


@dataclass(frozen=True)
class Scaling:
    """Offset and scale of each feature, so that one penalty suits all."""

    centre: Floats
    spread: Floats

    def apply(self, features: Features) -> Floats:
        """Return scaled features, float32 of the same shape."""
        scaled: Floats = (features.astype(np.float32) - self.centre) / self.spread
        return scaled

    def unscaled(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Return weight and bias for features that are not scaled."""
        folded: Floats = weight / self.spread
        shifted: Floats = bias - folded @ self.centre
        return folded, shifted


def scaling(features: Features, centred: bool = True) -> Scaling:
    """Return the mean of each feature, zero if not `centred`, and its standard deviation.

    The deviation is at least a tenth of the mean one, so that nearly constant features are not amplified.
    """
    floats = features.astype(np.float32)
    spread = floats.std(axis=0)
    centre = floats.mean(axis=0) if centred else np.zeros_like(spread)
    return Scaling(centre, np.maximum(spread, max(float(spread.mean()) / 10, 1e-6)))


def most_images(values: int, classes: int) -> int:
    """Return the number of training images for fitting a head, for this number of feature values."""
    return min(VALUES // values, PRODUCTS // (values * classes))


def sample(labels: Labels, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Return about `most` indices into `labels`, ascending: all, or the same fraction of each class at random.

    Ten images per class, or all if there are fewer, are always kept.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    generator, kept = np.random.default_rng(seed), []
    for number in np.unique(labels):
        positions = np.flatnonzero(labels == number)
        count = min(len(positions), max(10, len(positions) * most // len(labels)))
        kept.append(generator.choice(positions, count, replace=False))
    return np.sort(np.concatenate(kept))


def fit(
    training: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    classes: int,
    balanced: bool = False,
    intercept: bool = True,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Head:
    """Return the head whose penalty among `strengths` gives the lowest loss on `validation`.

    With `balanced`, all classes have equal weight. Without `intercept` the bias is zero, for layers without bias.
    """
    scale = scaling(training[0], intercept)
    evaluated, truth = scale.apply(validation[0]), validation[1]
    best: Head | None = None
    waited = 0
    for strength, weight, bias in path(scale.apply(training[0]), training[1], classes, strengths, balanced, intercept):
        logits = evaluated @ weight.T + bias
        loss, accuracy = cross_entropy(logits, truth), float((logits.argmax(axis=1) == truth).mean())
        waited += 1
        if best is None or loss < best.loss:
            best, waited = Head(*scale.unscaled(weight, bias), strength, loss, accuracy), 0
        if waited == IN_VAIN:
            break
    assert best is not None
    return best


def path(
    features: Floats,
    labels: Labels,
    classes: int,
    strengths: tuple[float, ...],
    balanced: bool = False,
    intercept: bool = True,
) -> Iterator[tuple[float, Floats, Floats]]:
    """Yield (penalty, weight, bias) for each penalty; every fit starts from the previous solution.

    A class without images gets logits far below all others or, without an intercept, which would be needed for that, 0.
    """
    solver = Solver(classes, balanced, intercept)
    for strength in strengths:
        with solving(features.size * classes):
            weight, bias = solver.fit(features, labels, strength)
        yield strength, weight, bias


@contextmanager
def solving(products: int) -> Iterator[None]:
    """Prepare the process for fits with this number of multiplications per step, in any number of threads."""
    with warnings.catch_warnings(), threadpool_limits(1 if products <= SMALL else None, "blas"):
        # Weak penalties may need more steps, and are rarely the best.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


class Solver:
    """Fits heads one after the other; every fit starts from the previous solution."""

    def __init__(self, classes: int, balanced: bool = False, intercept: bool = True) -> None:
        self.classes, self.intercept = classes, intercept
        self._model = LogisticRegression(
            solver="lbfgs",
            warm_start=True,
            max_iter=ITERATIONS,
            tol=TOLERANCE,
            fit_intercept=intercept,
            class_weight="balanced" if balanced else None,
        )

    def fit(self, features: Floats, labels: Labels, strength: float) -> tuple[Floats, Floats]:
        """Return weight, shape (classes, values), and bias, shape (classes,), for scaled features and a penalty.

        To be called within `solving`.
        """
        model = self._model
        model.set_params(C=1 / (strength * len(features)))
        model.fit(features, labels)
        weight = np.zeros((self.classes, features.shape[1]), dtype=np.float32)
        bias = np.full(self.classes, -1e4 if self.intercept else 0.0, dtype=np.float32)
        rows, offsets = model.coef_, np.broadcast_to(model.intercept_, len(model.coef_))
        if len(rows) == 1:  # scikit-learn uses a single row for two classes
            rows, offsets = np.concatenate([-rows / 2, rows / 2]), np.concatenate([-offsets / 2, offsets / 2])
        weight[model.classes_], bias[model.classes_] = rows, offsets
        return weight, bias


def cross_entropy(logits: Floats, labels: Labels) -> float:
    """Return the mean loss in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    terms = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(terms.mean())
