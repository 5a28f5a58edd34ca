"""An archive made like CIFAR-10's official one, with fewer or other pictures."""

import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ORDER = ("data_batch_4", "readme.html", "test_batch", "data_batch_3", "batches.meta", "data_batch_2", "data_batch_1")


class _Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 wrote its strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = save_string


def dumps(value: Any) -> bytes:
    """Pickle as Python 2 and NumPy 1 did."""
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Return a batch; pixels uint8 of shape (N, 32, 32, 3)."""
    rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)
    return dumps(
        {b"batch_label": b"some batch", b"labels": labels, b"data": rows, b"filenames": [b"x.png"] * len(rows)}
    )


def write(path: Path, batches: Mapping[str, bytes]) -> Path:
    """Write the archive with members in the official, scattered order."""
    members = {**batches, "readme.html": b"<html>", "batches.meta": dumps({b"label_names": [b"airplane"]})}
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name in [*(name for name in ORDER if name in members), *sorted(set(members) - set(ORDER))]:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(members[name])
            tar.addfile(info, io.BytesIO(members[name]))
    return path
