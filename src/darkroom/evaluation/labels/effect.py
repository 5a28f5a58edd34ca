"""What corrected labels changed: two linear models, fitted to the labels before and after, on the same test images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from darkroom.evaluation.labels.confident import Labels
from darkroom.evaluation.scores import comparison
from darkroom.evaluation.scores.comparison import Verdict


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


def compare(
    changed: npt.NDArray[np.bool_], tested: npt.NDArray[np.bool_], labels: Labels, before: Labels, after: Labels
) -> Effect:
    """Compare the models that predict `before` and `after` on the test images.

    changed: whether the label of an image was changed; tested: whether it is a test image, both of shape (N,). labels:
    the right classes of the test images, of which there is at least one; before, after: the predicted ones.
    """
    found = comparison.compare(after == labels, before == labels)
    return Effect(
        train=int(changed[~tested].sum()),
        test=int(changed[tested].sum()),
        images=len(labels),
        before=round(float((before == labels).mean()), 4),
        after=round(float((after == labels).mean()), 4),
        p_value=found.p_value,
        verdict=found.verdict,
    )
