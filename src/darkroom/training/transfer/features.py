"""Features of images from the frozen layers of a network, computed once per image and cached.

Another seed, split, label or order computes nothing again, 30 new images among 10,000 cost 30 forward passes, and a
killed run resumes.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from darkroom.foundations import files
from darkroom.progress import progress
from darkroom.training.engine import scoring
from darkroom.training.engine.batches import Data
from darkroom.training.engine.checkpoint import EVERY
from darkroom.training.engine.device import Compute
from darkroom.training.networks.network import Network
from darkroom.training.transfer.cache import FeatureCache, Features, Hash

HALF = 65_504.0
"""The largest number in half precision."""
CODE = (
    "networks/models.py",
    "networks/network.py",
    "networks/zoo/*.py",
    "transfer/backbones.py",
    "transfer/features.py",
    "transfer/timm_networks.py",
)
"""Modules of the training package that determine the features of given weights and images."""

SMALL, PIXELS = 64, 2**17
"""Larger images pass a processor in parts of this many pixels per thread, two images of 224: their activations fit
better into its caches. This was a third faster than ten images at a time (benchmarks/RESULTS.md)."""

View = Literal["plain", "mirrored"]


class Extractor:
    """The frozen layers of a network, on the device, with a cache of what they computed."""

    def __init__(self, network: Network, architecture: str, cache: FeatureCache, compute: Compute) -> None:
        self.network, self.cache, self.compute = network, cache, compute
        self.fingerprint = fingerprint(network, architecture, compute)
        self.seconds = 0.0
        """Time that it once took to compute the features which the cache spared."""

    @torch.inference_mode()
    def extract(self, data: Data, hashes: Sequence[Hash], view: View) -> Features:
        """Return the features of the images of `data`, in order; `hashes` are those of its images.

        Cached features are reused; the others are computed in the training precision, and cached.
        """
        identity = f"{self.fingerprint} {view}"
        found = self.cache.load(identity, hashes)
        self.seconds += found.seconds
        missing = np.flatnonzero(~found.known)
        if not len(missing):
            return found.features
        self.network.eval()
        layers = self.network.model.get_submodule("features")
        fresh: list[Tensor] = []
        waiting: list[Tensor] = []
        done, saved, clock = 0, 0, time.perf_counter()
        with progress(f"features, {view}", len(missing), "images") as bar:
            for images in self._parts(data, torch.from_numpy(missing)):
                with self.compute.autocast():
                    values = layers(self.network.normalise(images.flip(2) if view == "mirrored" else images))
                waiting.append(values.float().clamp(-HALF, HALF).half().cpu())
                done += len(images)
                bar(len(images))
                if done == len(missing) or time.perf_counter() - clock > EVERY:
                    part, places = torch.cat(waiting), missing[saved:done]
                    seconds = time.perf_counter() - clock
                    self.cache.save(identity, [hashes[place] for place in places], part.numpy(), seconds)
                    fresh.append(part)
                    waiting, saved, clock = [], done, time.perf_counter()
        # Not read again from the cache, which may have been unable to keep them.
        computed = torch.cat(fresh).numpy()
        result = np.empty((len(hashes), computed.shape[1]), dtype=np.float16)
        result[missing] = computed
        if found.known.any():
            result[found.known] = found.features
        return result

    def _parts(self, data: Data, places: Tensor) -> Iterator[Tensor]:
        side = max(data.size, self.network.side)
        if self.compute.device.type == "cpu" and side > SMALL:
            return data.batches(torch.split(places, max(1, PIXELS * torch.get_num_threads() // side**2)))
        return scoring.parts(self.network, data, places)


def fingerprint(network: Network, architecture: str, compute: Compute) -> str:
    """Return the SHA-256 over all that determines the features of an image, except for the image.

    These are the frozen layers with their weights, normalisation, input size and precision, and the versions of their
    code.
    """
    layers = network.model.get_submodule("features")
    packages = {type(layer).__module__.partition(".")[0] for layer in layers.modules()}
    versions = [f"{name} {version(name)}" for name in sorted(packages & {"timm", "torchvision"})]
    digest = hashlib.sha256()
    # The layers as text, because networks with the same weights may differ in padding or activation.
    for text in (architecture, str(layers), network.side, compute.words, torch.__version__, *versions, *_code()):
        digest.update(f"{text}\0".encode())
    for name, tensor in [("mean", network.mean), ("std", network.std), *sorted(layers.state_dict().items())]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _code() -> list[str]:
    top = Path(__file__).parents[1]
    return [files.sha256(path) for pattern in CODE for path in sorted(top.glob(pattern))]


def hashes(data: Data) -> list[Hash]:
    """Return the SHA-256 of each image of `data`."""
    parts = scoring.parts(torch.nn.Identity(), data, torch.arange(len(data)))
    return [hashlib.sha256(image.data).digest() for images in parts for image in images.cpu().numpy()]
