"""Features of packed images from the frozen layers, computed once and cached by content.

One file holds the features of one view (plain or mirrored) of one set of packed images by one network, for as many of
its rows as were ever asked for. So another split, another strength or another number of folds computes nothing again,
and a run that was killed goes on where it was.
"""

import hashlib
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from darkroom.candidate import chunk_size
from darkroom.foundations import files
from darkroom.progress import progress
from darkroom.training.engine import checkpoint
from darkroom.training.engine.batches import Data
from darkroom.training.engine.checkpoint import EVERY
from darkroom.training.engine.device import Compute
from darkroom.training.networks.network import Network

LIMIT = 2_000_000_000
"""Bytes that all files together may have; those that were not used for longest go first."""

HALF = 65_504.0
"""The largest number of half precision."""
View = Literal["plain", "mirrored"]
Features = npt.NDArray[np.float16]
"""Shape (images, values). Half precision is finer than the bfloat16 that they are computed in."""


@dataclass(frozen=True)
class FeatureCache:
    """The folder in which the features of one network and one set of images are kept."""

    folder: Path
    network: str
    """SHA-256 of its old layers and of how they see images."""
    images: str
    """SHA-256 of the packed images."""
    count: int
    """How many packed images there are."""
    limit: int = LIMIT

    def load(self, view: View, rows: npt.NDArray[np.int64]) -> tuple[Features | None, npt.NDArray[np.bool_]]:
        """Return the features of packed `rows`, or None where there are none, and for which rows they are known."""
        content = self._open(view)
        if content is None:
            return None, np.zeros(len(rows), dtype=np.bool_)
        return content["features"][rows], content["known"][rows].astype(np.bool_)

    def spent(self, view: View, rows: npt.NDArray[np.int64]) -> float:
        """Return the seconds that it took once to compute what is known of packed `rows`."""
        content = self._open(view)
        return float(content["seconds"][rows].sum()) if content is not None else 0.0

    def save(self, view: View, rows: npt.NDArray[np.int64], features: Features, seconds: float) -> None:
        """Add the features of packed `rows`, which took `seconds`, to those that are known, and make room for them.

        They are written where they belong in the file, so saving takes the same time however many are known.
        """
        path = self._path(view)
        content = self._open(view)
        if content is None or content["features"].shape[1] != features.shape[1]:
            values = features.shape[1]
            kind = np.dtype([("features", "<f2", (values,)), ("seconds", "<f4"), ("known", "<u4")])
            with files.whole_file(path) as partial:
                np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=(self.count,)).flush()
            content = np.lib.format.open_memmap(path, mode="r+")
        content["features"][rows], content["seconds"][rows] = features, seconds / len(rows)
        content.flush()  # or after a power cut rows might be marked whose features were never written
        content["known"][rows] = 1
        content.flush()
        self._clean(path)

    def _path(self, view: View) -> Path:
        key = hashlib.sha256(f"{self.network} {self.images} {view}".encode()).hexdigest()
        return self.folder / f"{key[:32]}.npy"

    def _open(self, view: View) -> np.memmap[Any, Any] | None:
        """Return a memory map of the file, one record for each packed row, or None where there is none."""
        path = self._path(view)
        if not path.is_file():
            return None
        try:
            content: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="r+")
            if content.shape == (self.count,) and content.dtype.names == ("features", "seconds", "known"):
                path.touch()
                return content
        except ValueError:  # no header, or a file that was cut short
            pass
        path.unlink()  # a damaged file is worth no more than none
        return None

    def _clean(self, newest: Path) -> None:
        room = self.limit - newest.stat().st_size
        others = [path for path in self.folder.glob("*.npy") if path != newest]
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)


def fingerprint(network: Network, compute: Compute) -> str:
    """Return the SHA-256 over the old layers, the normalisation, the input's side, the precision and all code."""
    versions = f"{torch.__version__} {version('torchvision')} {checkpoint.code()}"
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

    What the cache has is taken from there; the rest is computed in the precision that trains, and put there.
    """
    result, known = cache.load(view, rows)
    missing = np.flatnonzero(~known)
    if result is not None and not len(missing):
        return result
    network.eval()
    layers = network.model.get_submodule("features")
    chunks = torch.split(torch.from_numpy(missing), chunk_size(max(data.size, network.side)))
    waiting: list[Tensor] = []
    saved, done, clock = 0, 0, time.perf_counter()
    with progress(f"features, {view}", len(missing), "images") as bar:
        for images in data.batches(chunks):
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
    # Not read again from the file: another process may have put its own rows there, without these.
    assert result is not None
    return result
