from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darkroom.evaluation.checks.activation import Activation
from darkroom.training.networks import export, models
from darkroom.training.networks.network import Network
from tests import factories

SIDE, CLASSES, CHANNELS = 8, 3, 5


class Averaging(nn.Module):
    """A convolution with a map as large as the image, its mean and a dense layer."""

    def __init__(self, channels_last: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.head = nn.Linear(CHANNELS, CLASSES)
        self.channels_last = channels_last

    def features(self, images: Tensor) -> Tensor:
        maps = self.convolution(images).relu()
        return maps.permute(0, 2, 3, 1).square() if self.channels_last else maps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(1, 2) if self.channels_last else (2, 3)))
        return logits


def picture(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def exported(folder: Path, model: nn.Module, side: int = SIDE) -> tuple[Network, Activation]:
    network = Network(model, [0.5] * 3, [0.25] * 3)
    export.write_onnx(folder / "model.onnx", network, side)
    return network, Activation(folder / "model.onnx")


@pytest.mark.parametrize("channels_last", [False, True])
def test_after_a_mean_and_a_dense_layer_it_is_the_class_activation_map(tmp_path, channels_last):
    torch.manual_seed(0)
    model = Averaging(channels_last)
    network, activation = exported(tmp_path, model)
    with torch.no_grad():
        maps = model.features(network.normalise(torch.tensor(picture()[np.newaxis])))[0]
        weights = model.head.weight  # Zhou et al.: the sum of the maps, weighted as the class weighs their means
        expected = torch.einsum("kc,hwc->khw" if channels_last else "kc,chw->khw", weights, maps) / SIDE**2
    for target in range(CLASSES):
        found = activation.map(picture(), target)
        np.testing.assert_allclose(found, expected[target], atol=1e-5)


@pytest.mark.parametrize("name", ["lab_cnn", "resnet9", "airbench", "vgg_light"])
def test_every_network_of_the_zoo_has_one(tmp_path, name):
    torch.manual_seed(0)
    model = models.construct(name, CLASSES, 32, 8)
    for part in model.modules():  # statistics of their own, so that nothing is zero
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
    _, activation = exported(tmp_path, model, 32)
    found = activation.map(picture(32), 1)
    assert found is not None
    assert found.shape == (32, 32)
    assert found.dtype == np.float32
    assert np.ptp(found) > 0
    assert not np.array_equal(found, activation.map(picture(32), 2))


def test_a_network_without_a_feature_map_has_none(tmp_path):
    top = factories.write_project(tmp_path, networks=("small",))
    activation = Activation(top / "models" / "candidates" / "small" / "model.onnx")
    assert activation.map(picture(16), 0) is None
