"""The network of the speed records on CIFAR-10."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.training.networks.zoo.pooling import GlobalMaxPool

PATCH = 2
"""Side of the patches that the first layer whitens, in pixels."""
PIXELS = 2**20
"""Number of images whose patches are processed at a time: all at once would need a hundred times their memory."""
REGULARISER = 5e-4
"""Added to the variances, so that directions without variance are not amplified."""


class Airbench(nn.Module):
    """A fixed whitening layer, three blocks of two convolutions and a dense output.

    K. Jordan, 94% on CIFAR-10 in 3.29 seconds on a single GPU, arXiv 2404.00498 (airbench94: width 64), with parts from
    Page 2018 (whitening, GELU after pooling and norm) and Zagoruyko and Komodakis 2017 (dirac initialisation, so
    that each layer initially passes its input on). It differs in three ways: the bias of the whitening layer stays
    zero, which saves the CPU the gradient of the largest layer's input; the dense layer has small initial weights
    instead of a division by its inputs, so that any optimiser can train it; and the last pooling accepts images of any
    size.
    """

    def __init__(self, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        whitened = 2 * 3 * PATCH**2
        self.features = nn.Sequential(
            nn.Conv2d(3, whitened, PATCH, bias=False).requires_grad_(False),
            nn.GELU(),
            *_block(whitened, width),
            *_block(width, 4 * width),
            *_block(4 * width, 4 * width),
            GlobalMaxPool(),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, classes, bias=False)
        nn.init.normal_(self.head.weight, std=1 / (4 * width))

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Set the first layer from normalised training images (N, 3, S, S), float.

        The filters are the principal directions of the image patches, scaled to variance 1, with both signs.
        """
        size, count = 3 * PATCH**2, 0
        products = torch.zeros((size, size), dtype=torch.double)
        for some in images.split(max(1, PIXELS // images[0, 0].numel())):
            patches = functional.unfold(some, PATCH).transpose(1, 2).reshape(-1, size).double()
            products += patches.T @ patches
            count += len(patches)
        variances, directions = torch.linalg.eigh(products / count)
        filters = (directions / (variances + REGULARISER).sqrt()).T.flip(0).reshape(-1, 3, PATCH, PATCH)
        whitening = self.features[0]
        assert isinstance(whitening, nn.Conv2d)
        whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return two 3×3 convolutions; the output of the first is halved in size."""
    return (
        _convolution(inputs, outputs),
        nn.MaxPool2d(2),
        *_norm(outputs),
        _convolution(outputs, outputs),
        *_norm(outputs),
    )


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:inputs])
    return layer


def _norm(channels: int) -> tuple[nn.Module, nn.Module]:
    """Return batch norm without a learnable scale and with fast running statistics, and GELU."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm, nn.GELU()
