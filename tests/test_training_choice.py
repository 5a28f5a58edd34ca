"""The decisions of transfer: what `auto` trains, and whether fine-tuning is kept."""

import numpy as np
import pytest

from darkroom.training.networks.network import Network
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import backbones, choice

LITE = 384_000_000
"""Multiply-adds of efficientnet_lite0 at 224 pixels."""


def settings(**given: object) -> TransferSettings:
    return TransferSettings(architecture="efficientnet_lite0", **given)


@pytest.mark.parametrize(
    ("images", "epochs", "products", "device", "minutes", "method", "trained", "words"),
    [
        (204, 16, LITE, "cpu", 10, "probe", None, "204 training images are fewer than 500"),
        (204, 16, LITE, "cuda", 10, "probe", None, "fewer than 500"),
        (1_300, 16, LITE, "cpu", 10, "probe+finetune", 4, "4 epochs of 1,300 training images on a processor need"),
        (1_300, 16, LITE, "cpu", 20, "probe+finetune", 6, "about 15 minutes, within max_minutes: 20"),
        (1_300, 16, LITE // 5, "cpu", 10, "probe+finetune", 6, "6 epochs"),
        (1_300, 2, LITE // 5, "cpu", 10, "probe+finetune", 2, "2 epochs"),
        (3_250, 16, LITE, "cpu", 10, "probe", None, "3 epochs of 3,250 training images on a processor need about 19"),
        (3_250, 16, LITE, "cpu", 0.5, "probe", None, "more than max_minutes: 0.5"),
        (3_250, 16, LITE, "mps", 10, "probe+finetune", 16, "on a GPU"),
        (100_000, 16, LITE, "cuda", 10, "probe+finetune", 5, "100,000 training images on a GPU need about 9.6 minutes"),
        (1_300, 16, LITE, "xpu", 10, "probe+finetune", 4, "on a GPU"),
    ],
)
def test_auto_trains_for_as_many_epochs_as_fit_into_its_budget(
    images, epochs, products, device, minutes, method, trained, words
):
    found = choice.choose(settings(max_minutes=minutes), images, epochs, products, device)
    assert (found.method, found.epochs) == (method, trained)
    assert words in found.reason


@pytest.mark.parametrize("method", ["probe", "finetune", "probe+finetune"])
def test_a_method_that_is_set_is_kept_whatever_it_needs(method):
    found = choice.choose(settings(method=method, max_minutes=0.01), 10**6, 100, 10**12, "cpu")
    assert found == choice.Choice(method, "as set in params.yaml", None)


@pytest.mark.parametrize(("name", "side", "millions"), [("efficientnet_lite0", 224, 384), ("resnet18", 64, 148)])
def test_the_cost_of_a_network_depends_on_its_input_and_not_on_the_size_of_the_images(name, side, millions):
    network = Network(backbones.build(name, 10, side, side), [0.5] * 3, [0.5] * 3)
    found = {choice.multiply_adds(network, packed) for packed in (side, 32)}
    assert [round(products / 1e6) for products in found] == [millions]
    assert network.training  # as before


@pytest.mark.parametrize(
    ("gained", "lost", "better"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (5, 3, False), (6, 3, False), (7, 3, True), (3, 9, False)],
)
def test_fine_tuning_must_be_better_by_more_than_a_standard_error(gained, lost, better):
    assert choice.Comparison(gained, lost).is_better is better


def test_networks_are_compared_on_the_images_that_only_one_gets_right():
    labels = np.array([0, 1, 0, 1, 0])
    tuned = np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 1]]
    probed = np.eye(2, dtype=np.float32)[[1, 0, 0, 1, 1]]
    assert choice.compare(tuned, probed, labels) == choice.Comparison(gained=2, lost=1)
