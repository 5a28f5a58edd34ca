"""A running average of a network's weights, which is judged in its place."""

import torch
from torch import nn


@torch.no_grad()
def blend(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an exponential average of weights and statistics (Polyak and Juditsky 1992) towards the network.

    `step` counts from 0; the decay rises with it from 0.1 to `decay`, so that the random start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)
