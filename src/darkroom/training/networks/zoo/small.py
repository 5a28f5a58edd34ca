"""Small networks from courses: a few convolutions and dense layers."""

from torch import Tensor, nn
from torch.nn import init

from darkroom.training.networks.zoo.dropout import Dropout
from darkroom.training.networks.zoo.pooling import GlobalMaxPool


class LabCNN(nn.Module):
    """Two convolutions, each with pooling, and a dense output: the network of an introductory course.

    The layout is that of LeCun et al., Gradient-based learning applied to document recognition, 1998, with ReLU and max
    pooling, and without the hidden dense layers.
    """

    def __init__(self, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * width * (image_size // 4) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


class WicCNN(nn.Module):
    """Four convolutions, three of them without padding, and two dense layers: 187,402 parameters at width 32.

    The layers, their order and their initial weights are those of a Keras network used in web courses: normal weights
    after He et al. (arXiv 1502.01852) before ReLU, uniform ones after Glorot and Bengio (2010) in dense layers, Keras'
    epsilon in batch norm. Where the source is ambiguous, each ReLU precedes its norm, as in a Keras layer with an
    activation, pooling takes the maximum, and every dropout rate is one fifth.
    """

    def __init__(self, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_keras_convolution(3, width, padding=0),
            Dropout(0.2),
            *_keras_convolution(width, 2 * width, padding=0),
            nn.MaxPool2d(2),
            *_keras_convolution(2 * width, 4 * width, padding=1),
            nn.MaxPool2d(2),
            *_keras_convolution(4 * width, 2 * width, padding=0),
            GlobalMaxPool(),
            nn.Flatten(),
            Dropout(0.2),
            nn.Linear(2 * width, 8 * width),
            nn.ReLU(inplace=True),
            Dropout(0.2),
        )
        self.head = nn.Linear(8 * width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                init.xavier_uniform_(layer.weight)
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _keras_convolution(inputs: int, outputs: int, padding: int) -> tuple[nn.Module, ...]:
    """Return a 3×3 convolution, ReLU and batch norm with Keras' epsilon."""
    return (
        nn.Conv2d(inputs, outputs, 3, padding=padding),
        nn.ReLU(inplace=True),
        # Keras' momentum, 0.01 in PyTorch's definition, would train equally well, but its statistics lag behind in
        # evaluation: on the digits, with 18 steps per epoch, 25% instead of 96% after three epochs.
        nn.BatchNorm2d(outputs, eps=1e-3),
    )
