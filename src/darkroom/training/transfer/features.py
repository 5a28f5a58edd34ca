"""Features of packed images from the frozen layers, computed once and cached by content.

One file contains the features of one view (original or flipped) of one set of packed images by one network, for all
rows that were ever requested. Another split, penalty or number of folds therefore computes nothing again, and a killed
run resumes.
"""

import hashlib
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from darkroom.foundations import files
from darkroom.progress import progress
from darkroom.training.engine import checkpoint, scoring
from darkroom.training.engine.batches import Data
from darkroom.training.engine.checkpoint import EVERY
from darkroom.training.engine.device import Compute
from darkroom.training.networks.network import Network

LIMIT = 2_000_000_000
"""Largest total size of all files in bytes; the least recently used ones are removed first."""

HALF = 65_504.0
"""The largest number in half precision."""
View = Literal["plain", "mirrored"]
Features = npt.NDArray[np.float16]
"""Shape (images, values). Half precision has more significant digits than the bfloat16 of the computation."""


@dataclass(frozen=True)
class FeatureCache:
    """Cache folder for the features of one network and one set of images."""

    folder: Path
    network: str
    """SHA-256 of the frozen layers and of their preprocessing."""
    images: str
    """SHA-256 of the packed images."""
    count: int
    """Number of packed images."""
    limit: int = LIMIT

    def load(self, view: View, rows: npt.NDArray[np.int64]) -> tuple[Features | None, npt.NDArray[np.bool_]]:
        """Return the features of packed `rows`, or None if there are none, and for which rows they are available."""
        content = self._open(view)
        if content is None:
            return None, np.zeros(len(rows), dtype=np.bool_)
        return content["features"][rows], content["known"][rows].astype(np.bool_)

    def spent(self, view: View, rows: npt.NDArray[np.int64]) -> float:
        """Return the time in seconds that it took to compute the available features of packed `rows`."""
        content = self._open(view)
        return float(content["seconds"][rows].sum()) if content is not None else 0.0

    def save(self, view: View, rows: npt.NDArray[np.int64], features: Features, seconds: float) -> None:
        """Add the features of packed `rows`, which took `seconds`, to the available ones, and free space for them.

        They are written at their positions in the file, so the time does not depend on the number of available
        features. Queued experiments share the folder, so only one process at a time writes into it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            self._save(view, rows, features, seconds)

    def _save(self, view: View, rows: npt.NDArray[np.int64], features: Features, seconds: float) -> None:
        path = self._path(view)
        content = self._open(view)
        if content is None or content["features"].shape[1] != features.shape[1]:
            values = features.shape[1]
            kind = np.dtype([("features", "<f2", (values,)), ("seconds", "<f4"), ("known", "<u4")])
            with files.whole_file(path) as partial:
                np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=(self.count,)).flush()
            content = np.lib.format.open_memmap(path, mode="r+")
        content["features"][rows], content["seconds"][rows] = features, seconds / len(rows)
        content.flush()  # otherwise, after a power failure, rows without features could be marked as available
        content["known"][rows] = 1
        content.flush()
        self._clean(path)

    def _path(self, view: View) -> Path:
        key = hashlib.sha256(f"{self.network} {self.images} {view}".encode()).hexdigest()
        return self.folder / f"{key[:32]}.npy"

    def _open(self, view: View) -> np.memmap[Any, Any] | None:
        """Return a memory map of the file, with one record per packed row, or None if there is none."""
        path = self._path(view)
        if not path.is_file():
            return None
        try:
            content: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="r+")
            if content.shape == (self.count,) and content.dtype.names == ("features", "seconds", "known"):
                path.touch()
                return content
        except ValueError:  # no header, or a truncated file
            pass
        path.unlink()  # a damaged file is useless
        return None

    def _clean(self, newest: Path) -> None:
        room = self.limit - newest.stat().st_size
        others = [path for path in self.folder.glob("*.npy") if path != newest]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)


def fingerprint(network: Network, compute: Compute) -> str:
    """Return the SHA-256 over the frozen layers, the normalisation, the input size, the precision and all code."""
    built_with = [f"{name} {version(name)}" for name in ("torchvision", "timm") if name in sys.modules]
    versions = " ".join([torch.__version__, *built_with, checkpoint.code()])
    digest = hashlib.sha256(f"{network.side} {compute.words} {versions}".encode())
    state = network.model.get_submodule("features").state_dict()
    for name, tensor in [("mean", network.mean), ("std", network.std), *sorted(state.items())]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def extract(
    network: Network, data: Data, rows: npt.NDArray[np.int64], view: View, cache: FeatureCache, compute: Compute
) -> Features:
    """Return the features of one split's images, in order; `rows` are their packed rows, int64 (N,).

    Cached features are reused; the others are computed in the training precision, and cached.
    """
    result, known = cache.load(view, rows)
    missing = np.flatnonzero(~known)
    if result is not None and not len(missing):
        return result
    network.eval()
    layers = network.model.get_submodule("features")
    waiting: list[Tensor] = []
    saved, done, clock = 0, 0, time.perf_counter()
    with progress(f"features, {view}", len(missing), "images") as bar:
        for images in scoring.parts(network, data, torch.from_numpy(missing)):
            with compute.autocast():
                values = layers(network.normalise(images.flip(2) if view == "mirrored" else images))
            waiting.append(values.float().clamp(-HALF, HALF).half().cpu())
            done += len(images)
            bar(len(images))
            if done == len(missing) or time.perf_counter() - clock > EVERY:
                fresh, places = torch.cat(waiting).numpy(), missing[saved:done]
                if result is None:
                    result = np.zeros((len(rows), fresh.shape[1]), dtype=np.float16)
                result[places] = fresh
                cache.save(view, rows[places], fresh, time.perf_counter() - clock)
                waiting, saved, clock = [], done, time.perf_counter()
    # Not read again from the file: another process may have replaced it by one without these rows.
    assert result is not None
    return result
