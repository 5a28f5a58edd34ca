"""Predictions and metrics of a network over a whole split, in chunks that fit into memory."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.candidate import chunk_size
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
def predict(network: nn.Module, data: Data) -> Tensor:
    """Return float32 logits, shape (N, classes), computed on the CPU; the network stays there.

    The evaluation uses these, and the service must reproduce them within 1e-5. GPUs round differently: with ResNet-50
    on an H200 a probability differed by 4e-5, with TF32 turned off.
    """
    network = network.eval().cpu()
    return torch.cat([network(images.cpu()) for images in parts(network, data, torch.arange(len(data)))])


def parts(network: nn.Module, data: Data, places: Tensor) -> Iterator[Tensor]:
    """Yield the images at `places` (int64) on the device, as many at a time as fit at the network's own side."""
    return data.batches(torch.split(places, chunk_size(max(data.size, getattr(network, "side", 0)))))
