"""Predictions and metrics of a network over a whole split, in chunks that fit into memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom import neighbors
from darkroom.candidate import chunk_size
from darkroom.neighbors import Index
from darkroom.thresholds import Outputs
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute
from darkroom.training.engine.distributed import ALONE, World


@torch.inference_mode()
def score(network: nn.Module, data: Data, compute: Compute, world: World = ALONE) -> tuple[float, float]:
    """Return (cross-entropy in nats, accuracy 0 to 1), in the training precision."""
    network.eval()
    places = torch.arange(len(data))[world.share(len(data))]
    with compute.autocast():
        logits = torch.cat([network(images) for images in parts(network, data, places)])
    labels = data.labels[places.to(compute.device)]
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    sums = world.sum(torch.stack([loss, (logits.argmax(1) == labels).sum().float()]))
    return float(sums[0]) / len(data), float(sums[1]) / len(data)


@torch.inference_mode()
def predict(network: nn.Module, data: Data, index: Index | None = None) -> Outputs:
    """Return logits and, with an index, similarities to its images, computed on the CPU; the network stays there.

    The evaluation uses these, and the service must reproduce the logits within 1e-5. GPUs round differently: with
    ResNet-50 on an H200 a probability differed by 4e-5, with TF32 turned off.
    """
    network = network.eval().cpu()
    found = []
    context: AbstractContextManager[list[Tensor]] = captured(network) if index else nullcontext([])
    with context as features:
        for images in parts(network, data, torch.arange(len(data))):
            logits = network(images.cpu()).numpy()
            similarity = index.score(index.embed(features.pop().float().numpy())) if index else None
            found.append(Outputs(logits, similarity))
    return Outputs.concatenated(found)


@torch.inference_mode()
def reduced_features(network: nn.Module, data: Data, compute: Compute) -> npt.NDArray[np.float32]:
    """Return what `neighbors.reduce` gives for the features of the images, in the training precision."""
    network.eval()
    found = []
    with captured(network) as features, compute.autocast():
        for images in parts(network, data, torch.arange(len(data))):
            network(images)
            found.append(neighbors.reduce(features.pop().float().cpu().numpy()))
    return np.concatenate(found)


@contextmanager
def captured(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the input of the last layer, the features of shape (N, values), at each pass in the block."""
    features: list[Tensor] = []
    hook = network.get_submodule("model.head").register_forward_pre_hook(lambda _, given: features.append(given[0]))
    try:
        yield features
    finally:
        hook.remove()


def parts(network: nn.Module, data: Data, places: Tensor) -> Iterator[Tensor]:
    """Yield the images at `places` (int64) on the device, as many at a time as fit at the network's own side."""
    return data.batches(torch.split(places, chunk_size(max(data.size, getattr(network, "side", 0)))))
