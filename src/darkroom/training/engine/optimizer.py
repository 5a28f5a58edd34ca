"""Parameter groups and optimisers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from darkroom.training.engine.muon import Muon
from darkroom.training.settings import RecipeSettings


def groups(modules: Iterable[tuple[nn.Module, float]], settings: RecipeSettings) -> list[dict[str, Any]]:
    """Return parameter groups for (module, relative learning rate); biases and norms have no weight decay.

    With `muon`, filters are in separate groups, marked `orthogonal`.
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
    """Return the optimisers from the settings: one, or with `muon` a second one for all parameters but filters.

    `fused` optimisers update all weights in one kernel, for GPUs.
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
