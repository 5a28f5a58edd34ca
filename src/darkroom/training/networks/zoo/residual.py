"""Residual networks."""

from torch import Tensor, nn

from darkroom.training.networks.zoo.pooling import GlobalMaxPool


class Residual(nn.Module):
    """x + f(x), f being two 3×3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*convolution(channels, channels), *convolution(channels, channels))

    def forward(self, images: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        out: Tensor = images + self.branch(images)
        return out


class ResNet9(nn.Module):
    """Page's small residual network: eight convolutions and a dense output, made to train fast.

    D. Page, How to train your ResNet, 2018, part 4 (there with 64 channels at the start, here with `width`). The
    logits are scaled by 1/8 as there, which lets the last layer learn at the rate of the others.
    """

    scale = 1 / 8
    """What the last layer's output is multiplied by."""

    def __init__(self, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *convolution(3, width),
            *convolution(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(2 * width),
            *convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            *convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            Residual(8 * width),
            GlobalMaxPool(),
            nn.Flatten(),
        )
        self.head = nn.Linear(8 * width, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images)) * self.scale
        return logits


def convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return a 3×3 convolution that keeps the size, batch norm and a rectifier."""
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
