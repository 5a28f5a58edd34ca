"""Learning curves from predictions of probes that were fitted to random subsets of the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from darkroom.forecasts import Curve, Point, reach

FRACTIONS = (0.25, 0.4, 0.6, 0.8, 1.0)
"""Shares of the images that probes are fitted to."""
REPEATS = 8
"""Random subsets per share."""
GROUPS = 3
"""Smallest number of groups of a class with a learning curve."""
CLASSES = 25
"""Largest number of classes with a learning curve: those with the lowest F1."""

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Predict = Callable[[Mask, Sequence[int] | None], Labels]
"""From the images to fit to, shape (N,), and the classes of which some are missing (None: all classes), to the
out-of-fold predictions of all images, shape (N,)."""


@dataclass(frozen=True)
class Scored:
    """Scores of one set of predictions."""

    macro_f1: float
    f1: Floats
    """Shape (classes,)."""
    recall: Floats
    influence: Floats
    """Derivative of macro F1 by the weight of each image, shape (N,). The sum of its squares is the variance of macro
    F1 over random samples of images (infinitesimal jackknife; Efron, The Jackknife, the Bootstrap and Other Resampling
    Plans, 1982)."""


def score(predicted: Labels, labels: Labels, classes: int) -> Scored:
    """Return the scores of predictions; classes without images do not count. Shapes: (N,)."""
    given, guessed = (np.bincount(each, minlength=classes) for each in (labels, predicted))
    right = predicted == labels
    hits = np.bincount(labels[right], minlength=classes)
    there = given > 0
    share = 1 / np.maximum(given + guessed, 1)
    f1 = 2 * hits * share
    rise = 2 * right * share[labels] - (f1 * share)[labels] - (f1 * share * there)[predicted]
    return Scored(float(f1[there].mean()), f1, hits / np.maximum(given, 1), rise / there.sum())


def measure(
    predict: Predict, labels: Labels, groups: Labels, classes: Sequence[str], seed: int, sizes: Labels
) -> list[Curve]:
    """Return the learning curves: all classes together first, then up to `CLASSES` of them in their order.

    labels, groups: shape (N,); sizes: present number of images of each class, more than in `labels` if these are a
    sample. An image group is in a subset as a whole.
    """
    whole = score(predict(np.ones(len(labels), dtype=np.bool_), ()), labels, len(classes))
    present = np.flatnonzero(np.bincount(labels, minlength=len(classes)))
    if len(present) < 2:
        return []
    lowest = sorted(sorted(present.tolist(), key=lambda label: (whole.f1[label], label))[:CLASSES])
    return [
        _curve(predict, labels, groups, None, whole, seed, int(sizes.sum()), None),
        *(_curve(predict, labels, groups, label, whole, seed, int(sizes[label]), classes[label]) for label in lowest),
    ]


def _curve(
    predict: Predict, labels: Labels, groups: Labels, label: int | None, whole: Scored, seed: int, size: int,
    name: str | None,
) -> Curve:  # fmt: skip
    """Return the curve of a class, or of all classes if `label` is None; without points if it has too few groups."""
    reduced = np.unique(labels) if label is None else np.array([label])
    own = np.isin(labels, reduced)
    count = int(own.sum())
    if len(np.unique(groups[own])) < GROUPS:
        return Curve(name, size)
    generator = np.random.default_rng([seed, 0 if label is None else label + 1])
    numbers: list[float] = []
    means: list[float] = []
    spreads: list[float] = []
    influences: list[Floats] = []
    points: list[Point] = []
    for fraction in FRACTIONS:
        masks = [_subset(labels, groups, reduced, fraction, generator) for _ in range(REPEATS)] if fraction < 1 else []
        found = [score(predict(mask, None if label is None else (label,)), labels, len(whole.f1)) for mask in masks]
        used = [int(mask[own].sum()) for mask in masks] or [count]
        found = found or [whole]
        scores = [each.macro_f1 for each in found]
        number = float(np.mean(used))
        if fraction < 1 and number >= count:
            continue  # the smallest group is larger than the rest
        numbers.append(number)
        means.append(float(np.mean(scores)))
        spreads.append(float(np.var(scores, ddof=1)) if len(scores) > 1 else 0.0)
        influences.append(_by_group(np.mean([each.influence for each in found], axis=0), groups))
        points.append(_point(found, round(number * size / count), label))
    if len(numbers) < 2:
        return Curve(name, size)
    bare = Curve(name, size, tuple(points))
    columns = (np.array(numbers), np.array(means), np.array(spreads), np.array(influences))
    slope, error, choice = fit(*columns, bare.exponent)
    share = count / size  # below 1 if the images are a sample: the curve is flatter where it has all of them
    flatter = share**bare.exponent
    return replace(bare, slope=slope * flatter, error=error * flatter, choice=choice * share**0.5)


def fit(
    numbers: Floats, means: Floats, spreads: Floats, influences: Floats, exponent: float
) -> tuple[float, float, float]:
    """Return slope, error and choice of a `Curve`, by least squares.

    numbers: mean numbers of images, ascending, shape (J,), J at least 2; means, spreads: mean and variance of macro F1
    over the subsets; influences: those of the images' groups on the means, shape (J, groups).
    """
    ratios = numbers / numbers[-1]
    basis = np.stack([np.ones_like(ratios), [reach(ratio - 1, exponent) for ratio in ratios]], axis=1)
    weights = np.linalg.pinv(basis)[1]
    by_image = ((weights @ influences) ** 2).sum()
    by_subset = (weights**2 * spreads / REPEATS).sum()
    # A random subset of the share r has a variance of v (1 - r) / r, if images are drawn without replacement.
    parts = ratios[:-1]
    choice = (spreads[:-1] * parts / (1 - parts)).mean()
    return float(weights @ means), float(np.sqrt(by_image + by_subset)), float(np.sqrt(choice))


def _subset(labels: Labels, groups: Labels, reduced: Labels, fraction: float, generator: np.random.Generator) -> Mask:
    """Return all images, but of the classes `reduced` only random groups with about `fraction` of their images."""
    result = np.ones(len(labels), dtype=np.bool_)
    for label in reduced:
        rows = np.flatnonzero(labels == label)
        _, places = np.unique(groups[rows], return_inverse=True)
        order = generator.permutation(int(places.max()) + 1)
        sizes = np.bincount(places)[order]
        wanted = max(1, round(fraction * len(rows)))
        kept = np.zeros(len(order), dtype=np.bool_)
        kept[order[np.cumsum(sizes) - sizes < wanted]] = True
        result[rows] = kept[places]
    return result


def _by_group(influence: Floats, groups: Labels) -> Floats:
    """Return the sums over the groups, which are sampled as a whole."""
    _, places = np.unique(groups, return_inverse=True)
    return np.bincount(places, influence).astype(np.float64)


def _point(found: Sequence[Scored], images: int, label: int | None) -> Point:
    macro = float(np.mean([each.macro_f1 for each in found]))
    if label is None:
        return Point(images, macro)
    f1, recall = (float(np.mean([getattr(each, key)[label] for each in found])) for key in ("f1", "recall"))
    return Point(images, macro, f1, recall)
