"""How weights move: parameter groups, optimisers and the schedule of the learning rate."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from darkroom.training.engine.muon import Muon
from darkroom.training.settings import RecipeSettings

PLATEAU_PATIENCE, PLATEAU_FACTOR = 5, 0.2
"""Epochs without a better one after which `plateau` lowers the learning rate, and what it multiplies it by."""
FALLING = ("one_cycle", "cosine")
"""Schedules that end at a learning rate of zero."""
GROWS = (0.35, 0.65)
"""Where on the way small images grow by half of what they lack, and where they are whole."""


def groups(modules: Iterable[tuple[nn.Module, float]], settings: RecipeSettings) -> list[dict[str, Any]]:
    """Return parameter groups for (module, share of the learning rate); biases and norms do not decay.

    With `muon`, filters are in groups of their own, marked `orthogonal`.
    """
    muon = settings.optimizer == "muon"
    result: list[dict[str, Any]] = []
    for module, share in modules:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        filters = [parameter for parameter in parameters if muon and parameter.ndim == 4]
        matrices = [parameter for parameter in parameters if parameter.ndim > 1 and not (muon and parameter.ndim == 4)]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        rate = (settings.adam_learning_rate if muon else settings.learning_rate) * share
        found = [
            {"params": filters, "lr": settings.learning_rate * share, "orthogonal": True},
            {"params": matrices, "lr": rate, "weight_decay": settings.weight_decay},
            {"params": others, "lr": rate, "weight_decay": 0.0},
        ]
        result += [group for group in found if group["params"]]
    return result


def build(groups: list[dict[str, Any]], settings: RecipeSettings, fused: bool = False) -> list[torch.optim.Optimizer]:
    """Return the optimisers that the settings name: one, or with `muon` another for all that is no filter.

    `fused` ones move all weights in one kernel, for GPUs.
    """
    match settings.optimizer:
        case "adam":
            return [torch.optim.Adam(groups, fused=fused)]
        case "adamw":
            return [torch.optim.AdamW(groups, fused=fused)]
        case "sgd":
            return [torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=fused)]
        case "muon":
            filters = [group for group in groups if "orthogonal" in group]
            others = [group for group in groups if "orthogonal" not in group]
            return [Muon(filters), torch.optim.AdamW(others, betas=(0.9, 0.95), fused=fused)]


def share(settings: RecipeSettings, progress: float, accuracies: Sequence[float]) -> float:
    """Return the share of the peak learning rate, 0 to 1, at `way` (0 to 1) of the training.

    The triangle is that of Smith and Topin, Super-convergence, arXiv 1708.07120, in the plain form of Page 2018; the
    cosine that of Loshchilov and Hutter, arXiv 1608.03983. `accuracies` are those of the epochs on validation so
    far, which `plateau` looks at.
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


def waited(accuracies: Sequence[float]) -> int:
    """Return for how many epochs now none was better than all before it."""
    return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0


def plateau(accuracies: Sequence[float]) -> float:
    """Return the share of the first learning rate that is left after the plateaus of the past."""
    share, best, waiting = 1.0, -1.0, 0
    for accuracy in accuracies:
        waiting = 0 if accuracy > best else waiting + 1
        best = max(best, accuracy)
        if waiting == PLATEAU_PATIENCE:
            share, waiting = share * PLATEAU_FACTOR, 0
    return share


def size(settings: RecipeSettings, whole: int, progress: float) -> int:
    """Return the side in pixels of the images at `way` (0 to 1) of the training, `whole` being their own."""
    if settings.small_start == 1:
        return whole
    small = max(min(16, whole), round(settings.small_start * whole))
    return (small, (small + whole) // 2, whole)[sum(progress >= step for step in GROWS)]
