"""The decisions of transfer: whether fine-tuning fits into its budget, and afterwards, whether it was better.

Both depend only on parameters, images and network, never on the clock: the same inputs give the same model on a fast
and on a slow machine.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.flop_counter import FlopCounterMode

from darkroom.training.networks.network import Network
from darkroom.training.settings import Method, TransferSettings
from darkroom.training.transfer.probe import Floats

FEWEST = 500
"""Number of training images below which `auto` does not fine-tune: the validation images that come with them could not
show a gain of a few percent."""
LEAST, SHORT = 3, 6
"""Fewest epochs that `auto` trains for, and most on a processor: from pretrained weights, few are enough."""
BATCH = 32
"""Largest batch on a processor unless `batch_size` is set: a short training needs many steps."""
PASSES = 3
"""Cost of a training step in forward passes: the backward pass takes about two."""
RATES = {"cpu": 1e10, "mps": 1e11, "cuda": 1e12}
"""Multiply-adds per second of training that the budget assumes on a device. For a processor, the rate of two cores with
AVX2 in float32 (benchmarks/RESULTS.md); for GPUs, that of an old one."""


@dataclass(frozen=True)
class Choice:
    """A method, and why."""

    method: Method
    reason: str
    epochs: int | None = None
    """Number of epochs that fit into the budget; None for that of the data set."""


@dataclass(frozen=True)
class Comparison:
    """Fine-tuning compared with the probe on the same validation images."""

    gained: int
    """Number of images that only the fine-tuned network classifies correctly."""
    lost: int
    """Number of images that only the probe classifies correctly."""

    @property
    def is_better(self) -> bool:
        """Whether the fine-tuned network is better by more than one standard error of the difference."""
        return self.gained - self.lost > math.sqrt(self.gained + self.lost)


def choose(settings: TransferSettings, images: int, epochs: int, products: int, device: str) -> Choice:
    """Return the method for a data set and a device: for `auto`, fine-tuning for as many epochs as fit into its budget.

    images: number of training images; epochs: the largest number to train for; products: multiply-adds per image,
    forward; device: the type of a torch device.
    """
    if settings.method != "auto":
        return Choice(settings.method, "as set in params.yaml")
    if images < FEWEST:
        return Choice("probe", f"because {images:,} training images are fewer than {FEWEST:,}, too few for fine-tuning")
    epochs = min(epochs, SHORT) if device == "cpu" else epochs
    minutes = PASSES * products * images / RATES.get(device, RATES["cpu"]) / 60
    fitting, limit = min(epochs, int(settings.max_minutes / minutes)), f"max_minutes: {settings.max_minutes:g}"
    where = f"{images:,} training images on a {'processor' if device == 'cpu' else 'GPU'}"
    if fitting < (least := min(LEAST, epochs)):
        needed = max(least * minutes, settings.max_minutes * 1.01)
        return Choice("probe", f"because {least} epochs of {where} need about {needed:.2g} minutes, more than {limit}")
    reason = f"because {fitting} epochs of {where} need about {max(fitting * minutes, 0.1):.2g} minutes, within {limit}"
    return Choice("probe+finetune", reason, fitting)


def multiply_adds(network: Network, image_size: int) -> int:
    """Return the multiply-adds of one forward pass of one image of `image_size` pixels; the network is on the CPU."""
    training = network.training
    network.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros((1, image_size, image_size, 3), dtype=torch.uint8))
    network.train(training)
    return int(counter.get_total_flops()) // 2


def compare(tuned: Floats, probed: Floats, labels: npt.NDArray[np.int64]) -> Comparison:
    """Return how logits of shape (images, classes) compare with those of the probe for the same images."""
    right, before = tuned.argmax(axis=1) == labels, probed.argmax(axis=1) == labels
    return Comparison(int((right & ~before).sum()), int((before & ~right).sum()))
