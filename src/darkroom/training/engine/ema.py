"""A running average of a network's weights, which is evaluated in its place."""

import torch
from torch import nn


@torch.no_grad()
def blend(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Update an exponential average of weights and statistics (Polyak and Juditsky 1992) from the network.

    `step` counts from 0; the decay rises with it from 0.1 to `decay`, so that the initial weights are soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    # One call for all: on a GPU, launching hundreds of small kernels would take longer than their work.
    torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], 1 - decay)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)
