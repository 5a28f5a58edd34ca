"""Plain stacks of 3×3 convolutions after VGG (Simonyan and Zisserman, arXiv 1409.1556), and their ablations."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import init

from darkroom.training.networks.zoo.dropout import Dropout


class VGG(nn.Module):
    """Blocks of two convolutions and pooling, each with twice the channels of the previous one, and dense layers.

    At width 32, with one to three blocks and a hidden layer of 128, these are the networks of J. Brownlee, How to
    Develop a CNN From Scratch for CIFAR-10 Photo Classification, 2019: ReLU, He-uniform weights (arXiv 1502.01852) and,
    if requested, batch norm after every ReLU.

    Parameters
    ----------
    dropout
        Dropout rate after the pooling of each block and, if there is one, after the hidden layer.
    hidden
        Whether there is a hidden dense layer with four times `width` units before the output.
    """

    def __init__(
        self,
        classes: int,
        image_size: int,
        width: int,
        *,
        blocks: int,
        batch_norm: bool = False,
        dropout: Sequence[float] = (),
        hidden: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in range(blocks):
            for outputs in (width * 2**block, width * 2**block):
                layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
                channels = outputs
            layers.append(nn.MaxPool2d(2))
            layers += [Dropout(dropout[block])] if dropout else []
        layers.append(nn.Flatten())
        values = channels * (image_size // 2**blocks) ** 2
        if hidden:
            layers += [nn.Linear(values, 4 * width), nn.ReLU(inplace=True)]
            layers += [nn.BatchNorm1d(4 * width)] if batch_norm else []
            layers += [Dropout(dropout[blocks])] if dropout else []
            values = 4 * width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(values, classes)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        init.xavier_uniform_(self.head.weight)
        for layer in (*self.features, self.head):
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits
