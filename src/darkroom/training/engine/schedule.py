"""Schedules of the learning rate and of the image size."""

import math
from collections.abc import Sequence

from darkroom.training.settings import RecipeSettings

PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.2
"""Epochs without improvement after which `plateau` lowers the learning rate, and the factor."""
FALLING = ("one_cycle", "cosine")
"""Schedules that end at a learning rate of zero."""
GROWS = (0.35, 0.65)
"""Progress at which small images grow halfway to their full size, and at which they reach it."""


def factor(settings: RecipeSettings, progress: float, accuracies: Sequence[float]) -> float:
    """Return the learning rate relative to its peak, 0 to 1, at `progress` (0 to 1) of the training.

    The triangle is that of Smith and Topin, Super-convergence, arXiv 1708.07120, in the simple form of Page 2018; the
    cosine that of Loshchilov and Hutter, arXiv 1608.03983. `accuracies` are the validation accuracies of the epochs so
    far, which `plateau` uses.
    """
    rise = min(1.0, progress / settings.warmup) if settings.warmup else 1.0
    fall = min(1.0, (1 - progress) / (1 - settings.warmup))
    match settings.schedule:
        case "constant":
            return 1.0
        case "one_cycle":
            return min(rise, fall)
        case "cosine":
            return min(rise, (1 - math.cos(math.pi * fall)) / 2)
        case "plateau":
            return plateau(accuracies)


def epochs_without_improvement(accuracies: Sequence[float]) -> int:
    """Return the number of epochs since the last improvement."""
    return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0


def plateau(accuracies: Sequence[float]) -> float:
    """Return the factor of the learning rate after the plateaus so far."""
    share, best, waiting = 1.0, -1.0, 0
    for accuracy in accuracies:
        waiting = 0 if accuracy > best else waiting + 1
        best = max(best, accuracy)
        if waiting == PLATEAU_PATIENCE:
            share, waiting = share * PLATEAU_FACTOR, 0
    return share


def image_size(settings: RecipeSettings, whole: int, progress: float) -> int:
    """Return the side in pixels of the images at `progress` (0 to 1) of the training; `whole` is the full side."""
    if settings.small_start == 1:
        return whole
    small = max(min(16, whole), round(settings.small_start * whole))
    return (small, (small + whole) // 2, whole)[sum(progress >= step for step in GROWS)]
