"""What corrected labels changed: two linear models on the same images, compared on the same test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.evaluation.scores import comparison
from darkroom.evaluation.scores.comparison import Verdict
from darkroom.packed import LEFT_OUT, Split
from darkroom.training import held_out
from darkroom.training.held_out import Features


@dataclass(frozen=True)
class Effect:
    """Accuracy on the test images of the models that were fitted to the labels before and after the decisions."""

    train: int
    """Number of training and validation images with another label than before."""
    test: int
    """Number of test images with another label than before."""
    images: int
    """Number of test images."""
    before: float
    """Accuracy on the test images, 0 to 1. For both models, the labels after the decisions count as right."""
    after: float
    p_value: float
    """Of McNemar's exact test."""
    verdict: Verdict


def measure(features: Features, before: Sequence[str], split: Split, seed: int) -> Effect | None:
    """Fit two linear models to the training and validation images, and compare them on the test images.

    features: shape (N, values); before: the class of each image in the source. `split` has the labels after the
    decisions. Excluded images are in neither model. Each model has the penalty with the lowest error in
    cross-validation with its own labels.

    Returns None if no label of a training or validation image was changed, or if there is nothing to compare.
    """
    names, numbers = np.unique([*before, *split.classes], return_inverse=True)
    labels = numbers[len(before) :][split.labels]
    used = np.flatnonzero(split.splits != LEFT_OUT)
    source, labels, groups = numbers[used], labels[used], split.groups[used]
    tested, changed = split.splits[used] == "test", labels != source
    if not changed[~tested].any() or not tested.any():
        return None
    held = (~tested).astype(np.int64)  # fold 0: the test images
    probe = held_out.Probe(held_out.scaled(features[used]), held)
    right = []
    for each in (source, labels):
        fitted = features[used[~tested]], each[~tested], groups[~tested]
        searched = held_out.cross_validate(*fitted, len(names), seed, repeats=1)
        if not searched:
            return None
        scores = probe.scores(held_out.one_hot(each, len(names)), searched[0].penalty)
        right.append(scores[tested].argmax(axis=1) == labels[tested])
    found = comparison.compare(right[1], right[0])
    return Effect(
        train=int(changed[~tested].sum()),
        test=int(changed[tested].sum()),
        images=int(tested.sum()),
        before=round(float(right[0].mean()), 4),
        after=round(float(right[1].mean()), 4),
        p_value=found.p_value,
        verdict=found.verdict,
    )
