"""A network including its preprocessing, and the description from which it can be rebuilt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.training.networks import models


class Network(nn.Module):
    """From pixels to logits: normalisation is part of the network that is trained, exported and served.

    `mean` and `std` are per channel, for values 0 to 1. With `frozen_norms`, batch norms keep their statistics in
    training.
    """

    mean: Tensor
    std: Tensor
    frozen_norms: bool = False
    side: int = 0
    """Side in pixels at which the network computes, if it differs from that of the images."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        # Not part of the state, because the card contains them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Network":
        """Set training or evaluation mode, except for frozen norms."""
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
        # PyTorch calls the permuted view of an N×S×S×3 tensor channels-last: it needs no copy, and convolutions are
        # fastest in this layout.
        channels_first = images.permute(0, 3, 1, 2).float() / 255
        return (channels_first - self.mean) / self.std


def prepare(network: Network, images: Tensor) -> Network:
    """Pass training images (uint8, (N, S, S, 3)) to a network that prepares itself with them before training."""
    if callable(look := getattr(network.model, "prepare", None)):
        look(network.normalise(images))
    return network


def build(description: dict[str, Any], classes: int, image_size: int, seed: int) -> nn.Module:
    """Return a network of the zoo with random weights that depend only on `seed`.

    `description` is a card's `network`: {"architecture": name, "width": channels}. Raises DarkroomError when the
    images are too small for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.construct(description["architecture"], classes, image_size, description["width"])
    return model.to(memory_format=torch.channels_last)
