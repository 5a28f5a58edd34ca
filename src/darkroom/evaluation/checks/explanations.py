"""Selection of test images to explain, and the figure of their explanation maps."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from darkroom.evaluation.checks.activation import Activation
from darkroom.evaluation.figures.mosaics import COLUMNS, captioned, fit, percent
from darkroom.explaining import occlusion, overlay
from darkroom.predictor import Predictor

RIGHT, WRONG = 6, 4
"""Largest number of images of each kind: three rows of the figure for correct predictions, one per wrong prediction."""
OCCLUSION, ACTIVATION = "occlusion", "feature map"
"""Captions of the two kinds of maps."""

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def choose(predicted: Labels, labels: Labels, seed: int) -> tuple[list[int], list[int]]:
    """Return indices of randomly chosen correct and wrong predictions; correct ones cover as many classes as possible.

    predicted, labels: shape (rows,).
    """
    random = np.random.default_rng(seed)
    right, wrong = (random.permutation(np.flatnonzero((predicted == labels) == kind)) for kind in (True, False))
    seen: dict[int, int] = {}
    turns = []  # how many images of the same class come before each
    for place in right:
        turns.append(seen.get(int(labels[place]), 0))
        seen[int(labels[place])] = turns[-1] + 1
    return [int(place) for place in right[np.argsort(turns, kind="stable")][:RIGHT]], [int(p) for p in wrong[:WRONG]]


def draw(
    predictor: Predictor,
    activation: Activation,
    images: Images,
    labels: Labels,
    probabilities: npt.NDArray[np.float64],
    classes: Sequence[str],
) -> Figure:
    """Draw each image next to the maps of its predicted class and, if that is wrong, of its true class.

    There is an occlusion map for each and, if the network has a feature map, a class activation map.
    images: uint8, shape (N, S, S, 3); labels: shape (N,); probabilities: shape (N, classes).
    """
    shown: dict[bool, list[tuple[Images, list[str]]]] = {True: [], False: []}
    blank = (np.full_like(images[0], 255), [""])
    for image, label, given in zip(images, labels, probabilities, strict=True):
        predicted = int(given.argmax())
        right = predicted == label
        cells = [(image, [fit(classes[label]), "right" if right else "wrong"])]
        for target in dict.fromkeys((predicted, int(label))):
            words = [f"for {fit(classes[target], 4)}", f"{percent(float(given[target]))}, {OCCLUSION}"]
            cells.append((overlay(image, occlusion(predictor, image, target).heat), words))
            if (heat := activation.map(image, target)) is not None:
                cells.append((overlay(image, heat), [words[0], ACTIVATION]))
        # Fill up the row, so that columns stay aligned.
        shown[right] += cells + [blank] * (-len(cells) % (COLUMNS // 2 if right else COLUMNS))
    cells = shown[True]
    if shown[False]:
        cells = cells + [blank] * (-len(cells) % COLUMNS) + shown[False]
    return captioned([image for image, _ in cells], [caption for _, caption in cells])
