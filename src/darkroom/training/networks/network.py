"""A network with its preprocessing inside, and the description from which it can be built again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.training.networks import models


class Network(nn.Module):
    """Pixels in, logits out: normalisation is part of what is trained, exported and served.

    `mean` and `std` are per channel, on values 0 to 1. With `frozen_norms` batch norms keep their
    statistics in training.
    """

    mean: Tensor
    std: Tensor
    frozen_norms: bool = False
    side: int = 0
    """At which side in pixels the network computes, where it is not that of the images."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        # Not part of the state: the card carries them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Network":
        """Set training or evaluating, for all but frozen norms."""
        super().train(mode)
        if self.frozen_norms:
            for part in self.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):  # also that of several processes
                    part.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) for images (N, S, S, 3) with values 0 to 255, uint8 or float."""
        logits: Tensor = self.model(self.normalise(images))
        return logits.float()

    def normalise(self, images: Tensor) -> Tensor:
        """Return float32 (N, 3, S, S) with mean 0 and standard deviation 1 over the training set."""
        # The permuted view of an N×S×S×3 tensor is what PyTorch calls channels-last: no copy, and the
        # layout in which convolutions are fastest.
        channels_first = images.permute(0, 3, 1, 2).float() / 255
        return (channels_first - self.mean) / self.std


def prepare(network: Network, images: Tensor) -> Network:
    """Let a network that wants to see training images (uint8, (N, S, S, 3)) before it trains on them look at some."""
    if callable(look := getattr(network.model, "prepare", None)):
        look(network.normalise(images))
    return network


def build(description: dict[str, Any], classes: int, image_size: int, seed: int) -> nn.Module:
    """Return a network of the zoo with random weights that depend on `seed` alone.

    `description` is a card's `network`: {"architecture": name, "width": channels}. Raises DarkroomError when the
    images are too small for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.construct(description["architecture"], classes, image_size, description["width"])
    return model.to(memory_format=torch.channels_last)
