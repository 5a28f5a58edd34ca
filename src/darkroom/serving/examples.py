"""Example images stored with the served model, for its page.

`examples/` in the served folder contains `examples.json`, a list of `Example`s, and their PNG files.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.foundations import files

FOLDER = "examples"
MOST = 10
"""Largest number of examples; with fewer classes, each has several, in equal numbers."""


@dataclass(frozen=True)
class Example:
    """One example image."""

    file: str
    """Its name in the folder."""
    label: str
    """Its true class."""


def choose(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return 5 to 10 positions in `labels`, shape (N,), in random order and with equal numbers per class.

    There are fewer if a class has too few images. Of more than ten classes, ten are drawn at random.
    """
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.unique(labels))[:MOST]
    each = MOST // max(1, len(classes))
    chosen = [generator.permutation(np.flatnonzero(labels == label))[:each] for label in classes]
    return generator.permutation(np.concatenate([*chosen, np.empty(0, np.int64)]))


def write(folder: Path, images: npt.NDArray[np.uint8], labels: Sequence[str]) -> None:
    """Write `images`, shape (N, S, S, 3), with their true `labels` into `folder`/examples."""
    top = folder / FOLDER
    top.mkdir()
    examples = [Example(f"{place}.png", label) for place, label in enumerate(labels)]
    for image, example in zip(images, examples, strict=True):
        Image.fromarray(image).save(top / example.file)
    files.write_json(top / "examples.json", [asdict(example) for example in examples])


def read(folder: Path) -> list[Example]:
    """Return the examples of a served folder in their order; an empty list if it has none."""
    path = folder / FOLDER / "examples.json"
    return [Example(**row) for row in files.read_json(path)] if path.is_file() else []
