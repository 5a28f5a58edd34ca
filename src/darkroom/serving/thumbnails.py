"""Thumbnails of the training images in the served index, as JPEG files in one array."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

NAME = "thumbnails.npz"
FOLDER = "neighbors"
"""Path of the thumbnails below the service's address: `neighbors/17.jpg` is that of the 18th image in the index."""
SIDE = 64
"""Largest side in pixels."""
QUALITY = 80


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a JPEG file of an image, uint8, shape (S, S, 3), of at most `SIDE` pixels."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write(folder: Path, images: Sequence[bytes]) -> None:
    """Write the JPEG files to a served folder."""
    ends = np.cumsum([len(image) for image in images], dtype=np.int64)
    np.savez(folder / NAME, content=np.frombuffer(b"".join(images), dtype=np.uint8), ends=ends)


def read(folder: Path) -> list[bytes]:
    """Return the JPEG files of a served folder in the order of its index; an empty list if it has none."""
    path = folder / NAME
    if not path.is_file():
        return []
    with np.load(path, allow_pickle=False) as arrays:
        content, ends = arrays["content"].tobytes(), arrays["ends"].tolist()
    return [content[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
