"""Which test images are explained, and the figure of what their answers rest on."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from darkroom.evaluation.checks.activation import Activation
from darkroom.evaluation.figures.mosaics import COLUMNS, captioned, fit, percent
from darkroom.explaining import occlusion, overlay
from darkroom.predictor import Predictor

RIGHT, WRONG = 6, 4
"""Most images of each kind: three lines of the figure for the right ones, one for each wrong one."""
HIDDEN, ACTIVE = "hidden", "feature map"
"""Under the two kinds of maps."""

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def choose(predicted: Labels, labels: Labels, seed: int) -> tuple[list[int], list[int]]:
    """Return positions of right and of wrong answers, a random choice of each; right ones of as many classes as can be.

    predicted, labels: shape (rows,).
    """
    random = np.random.default_rng(seed)
    right, wrong = (random.permutation(np.flatnonzero((predicted == labels) == kind)) for kind in (True, False))
    seen: dict[int, int] = {}
    turns = []  # an image's turn: how many of its class come before it
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
    """Return each image beside what speaks for its predicted class and, where that is wrong, for its own class.

    That is a map by hiding places of the picture, and one by the network's last feature map where it has any.
    images: uint8, shape (N, S, S, 3); labels: shape (N,); probabilities: shape (N, classes).
    """
    shown: dict[bool, list[tuple[Images, list[str]]]] = {True: [], False: []}
    blank = (np.full_like(images[0], 255), [""])
    for image, label, given in zip(images, labels, probabilities, strict=True):
        predicted = int(given.argmax())
        right = predicted == label
        cells = [(image, [fit(classes[label]), "right" if right else "wrong"])]
        for target in dict.fromkeys((predicted, int(label))):
            words = [f"for {fit(classes[target], 4)}", f"{percent(float(given[target]))}, {HIDDEN}"]
            cells.append((overlay(image, occlusion(predictor, image, target).heat), words))
            if (heat := activation.map(image, target)) is not None:
                cells.append((overlay(image, heat), [words[0], ACTIVE]))
        # Each kind keeps to its columns, wherever its lines begin.
        shown[right] += cells + [blank] * (-len(cells) % (COLUMNS // 2 if right else COLUMNS))
    cells = shown[True]
    if shown[False]:
        cells = cells + [blank] * (-len(cells) % COLUMNS) + shown[False]
    return captioned([image for image, _ in cells], [caption for _, caption in cells])
