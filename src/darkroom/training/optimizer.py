"""How weights move: parameter groups, optimisers and the schedule of the learning rate."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from darkroom.training.settings import RecipeSettings

RISE = 0.2
"""Share of the steps in which the one-cycle schedule rises."""


def groups(modules: Iterable[tuple[nn.Module, float]], settings: RecipeSettings) -> list[dict[str, object]]:
    """Return parameter groups for (module, share of the learning rate); biases and norms do not decay."""
    result: list[dict[str, object]] = []
    for module, share in modules:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decays in (True, False):
            members = [parameter for parameter in parameters if (parameter.ndim > 1) is decays]
            if members:
                decay = settings.weight_decay if decays else 0.0
                result.append({"params": members, "lr": settings.learning_rate * share, "weight_decay": decay})
    return result


def build(parameters: list[dict[str, object]], settings: RecipeSettings) -> torch.optim.Optimizer:
    """Return the optimiser that the settings name."""
    match settings.optimizer:
        case "adam":
            return torch.optim.Adam(parameters)
        case "adamw":
            return torch.optim.AdamW(parameters)
        case "sgd":
            return torch.optim.SGD(parameters, momentum=0.9, nesterov=True)


def schedule(settings: RecipeSettings, total: int) -> Callable[[int], float]:
    """Return the function from a step (0 to total - 1) to the share of the peak learning rate, 0 to 1.

    The triangle is that of Smith and Topin, Super-convergence, arXiv 1708.07120, in the plain form of Page 2018.
    """
    if settings.schedule == "constant":
        return lambda step: 1.0
    rise = max(1, round(RISE * total))

    def share(step: int) -> float:
        return min((step + 1) / (rise + 1), (total - step) / max(1, total - rise))

    return share
