import pytest
import torch
from torch import nn

from darkroom import candidate
from darkroom.candidate import Card, Layer
from darkroom.training.networks import layers, network
from darkroom.training.networks.models import ZOO
from darkroom.training.networks.network import Network


def describe(model, size=32):
    return layers.describe(Network(model, [0.5] * 3, [0.25] * 3).eval(), size)


@pytest.mark.parametrize("architecture", ZOO)
def test_the_layers_hold_all_parameters_of_every_network(architecture):
    model = network.build({"architecture": architecture, "width": 8}, 7, 32, seed=0)
    rows = describe(model)
    assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in model.parameters())
    assert rows[-1].name == "head"
    assert rows[-1].output == [7]


def test_layers_stand_in_the_order_of_the_pass_with_their_shapes():
    rows = describe(network.build({"architecture": "lab_cnn", "width": 8}, 10, 32, seed=0))
    assert rows[:4] == [
        Layer("features.0", "convolution 3×3", [8, 32, 32], 3 * 9 * 8 + 8),
        Layer("features.1", "ReLU", [8, 32, 32], 0),
        Layer("features.2", "max pooling 2×2", [8, 16, 16], 0),
        Layer("features.3", "convolution 3×3", [16, 16, 16], 8 * 9 * 16 + 16),
    ]


def test_a_block_stands_after_its_layers():
    rows = describe(network.build({"architecture": "resnet9", "width": 8}, 10, 32, seed=0))
    (first, _) = [place for place, row in enumerate(rows) if row.kind == "Residual block"]
    assert rows[first].name == "features.7"
    assert {row.name.rsplit(".", 1)[0] for row in rows[first - 6 : first]} == {"features.7.branch"}


class Odd(nn.Module):
    """A layer that is called twice, one that does nothing, and numbers that belong to no layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.first = nn.Conv2d(3, 4, 2, stride=2, groups=1)
        self.deep = nn.Conv2d(4, 4, 1, groups=4)
        self.nothing = nn.Sequential(nn.Identity(), nn.Dropout(0))
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        values = self.nothing(self.deep(self.deep(self.first(images))))
        return self.head(values.mean((2, 3))) * self.scale


def test_numbers_are_counted_once_and_none_is_forgotten():
    rows = describe(Odd(), size=8)
    assert [(row.kind, row.parameters) for row in rows] == [
        ("convolution 2×2, stride 2", 52),
        ("depthwise convolution 1×1", 8),
        ("depthwise convolution 1×1", 0),
        ("dense", 25),
        ("outside of layers", 5),
    ]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool2d(3, stride=2), "max pooling 3×3, stride 2"),
        (nn.AvgPool2d(2), "average pooling 2×2"),
        (nn.AdaptiveAvgPool2d(1), "global average pooling"),
        (nn.Dropout(0.2), "dropout 20%"),
        (nn.GELU(), "GELU"),
    ],
)
def test_layers_are_named_in_words(layer, expected):
    assert layers.words(layer) == expected


def test_a_card_keeps_its_layers(tmp_path):
    rows = [Layer("head", "dense", [10], 40)]
    card = Card("a", "scratch", "x", ["b", "c"], 8, 40, "d", {}, 1.0, layers=rows)
    candidate.write_card(tmp_path, card)
    assert candidate.read_card(tmp_path) == card
