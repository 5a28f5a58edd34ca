"""Features of all packed images by frozen pretrained weights, cached by content."""

import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from darkroom import candidate
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import features, weights
from darkroom.training.transfer.cache import FeatureCache, Features


def saw(settings: TransferSettings, folder: Path, classes: Collection[str]) -> list[str]:
    """Return classes of the data set with which the weights in `folder` were trained, sorted; empty if unknown.

    Such weights may have learnt the labels of these very images, wrong ones included. The card of a candidate names its
    classes; published weights do not.
    """
    if not settings.from_candidate:
        return []
    theirs = {name.casefold() for name in candidate.read_card(folder).classes}
    return sorted(name for name in classes if name.casefold() in theirs)


def extract(
    images: npt.NDArray[np.uint8], settings: TransferSettings, folder: Path, cache: Path, compute: Compute
) -> Features:
    """Return the features of packed `images`, uint8 (N, S, S, 3), shape (N, values), in order.

    `folder` was written by the stage pretrained. Features that the stage transfer computed are found in the `cache`.
    Raises DarkroomError when the weights cannot be read or do not fit.
    """
    network, description, _ = weights.read(folder, settings, classes=2, image_size=images.shape[1], seed=0)
    network.to(compute.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and nothing here writes
        pixels = torch.from_numpy(images)
    labels = torch.zeros(len(images), dtype=torch.int64, device=compute.device)  # features depend on none
    data = Data(pixels, torch.arange(len(images)), labels)
    extractor = features.Extractor(network, description["architecture"], FeatureCache(cache), compute)
    return extractor.extract(data, features.hashes(data), "plain")
