"""The zoo: networks by name, for any number of classes and image sizes from 8 pixels (`SMALLEST_IMAGE`) on.

A network takes float images of shape (N, 3, S, S), normalised, and returns logits of shape (N, classes). It
consists of `features` and a last layer `head`, so that transfer learning can keep the former and replace the latter.
A new architecture is one function here and its name in `settings.Architecture`.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from darkroom.foundations.errors import DarkroomError
from darkroom.training.networks.zoo.airbench import Airbench
from darkroom.training.networks.zoo.residual import ResNet9
from darkroom.training.networks.zoo.small import LabCNN, WicCNN
from darkroom.training.networks.zoo.vgg import VGG
from darkroom.training.settings import SMALLEST_IMAGE, Architecture

DROPOUT = (0.2, 0.3, 0.4, 0.5)
"""Dropout rates that increase with depth, as in the last step of Brownlee's study of dropout."""

ZOO: dict[Architecture, Callable[[int, int, int], nn.Module]] = {
    "lab_cnn": LabCNN,
    "wic_cnn": WicCNN,
    "vgg1": partial(VGG, blocks=1),
    "vgg2": partial(VGG, blocks=2),
    "vgg3": partial(VGG, blocks=3),
    "vgg3_bn": partial(VGG, blocks=3, batch_norm=True),
    "vgg3_dropout": partial(VGG, blocks=3, dropout=DROPOUT),
    # 309,290 parameters, like the light networks that a Keras study brought to 90% on CIFAR-10: A. Kumar, Achieving 90%
    # accuracy in object recognition on CIFAR-10, 2018. Most of VGG's weights are in its hidden layer.
    "vgg_light": partial(VGG, blocks=3, batch_norm=True, dropout=DROPOUT, hidden=False),
    "resnet9": ResNet9,
    "airbench": Airbench,
}
"""Name -> constructor taking (classes, image size in pixels, channels of the first layer)."""


def construct(architecture: Architecture, classes: int, image_size: int, width: int) -> nn.Module:
    """Return a network with random weights. Raises DarkroomError when the images are too small for it."""
    if image_size < (smallest := SMALLEST_IMAGE.get(architecture, 0)):
        raise DarkroomError(
            f"{architecture} needs images of at least {smallest} pixels, not {image_size}: set pack.image_size to "
            f"{smallest}, or train another architecture"
        )
    return ZOO[architecture](classes, image_size, width)
