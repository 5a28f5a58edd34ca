"""Residual networks."""

from torch import Tensor, nn

from darkroom.training.networks.zoo.pooling import GlobalMaxPool


class Residual(nn.Module):
    """x + f(x), where f is two 3×3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*convolution(channels, channels), *convolution(channels, channels))

    def forward(self, images: Tensor) -> Tensor:
        """Return a tensor of the input's shape."""
        out: Tensor = images + self.branch(images)
        return out


class ResNet9(nn.Module):
    """Page's small residual network: eight convolutions and a dense output, designed for fast training.

    D. Page, How to train your ResNet, 2018, part 4 (with 64 channels in the first layer there, `width` here). The
    logits are scaled by 1/8 as there, so that the last layer can use the same learning rate as the others.
    """

    scale = 1 / 8
    """Factor of the last layer's output."""

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
    """Return a 3×3 convolution that keeps the size, batch norm and ReLU."""
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
