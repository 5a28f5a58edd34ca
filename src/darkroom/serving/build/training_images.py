"""The index of training images in the served folder: features, names and thumbnails, as far as they may be served."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from darkroom import candidate, neighbors
from darkroom.packed import Packed
from darkroom.predictor import Predictor
from darkroom.serving import thumbnails
from darkroom.serving.settings import PackageSettings
from darkroom.thresholds import NEEDS_INDEX, Thresholds


def write(folder: Path, source: Path, packed: Packed, settings: PackageSettings, thresholds: Thresholds | None) -> None:
    """Write the index of the candidate `source` into the served `folder`, with names and thumbnails if requested.

    Nothing is written if neither `settings` nor `thresholds` need it, or if the candidate has none.
    """
    index = neighbors.read(source)
    scored = thresholds is not None and thresholds.score in NEEDS_INDEX
    if index is None or not (scored or settings.neighbors != "none"):
        return
    names = [] if settings.neighbors == "none" else [packed.records[row].name for row in index.rows]
    neighbors.write(folder, replace(index, names=names))
    if settings.neighbors == "thumbnails":
        thumbnails.write(folder, [thumbnails.encode(packed.images[row]) for row in index.rows])


def embed_again(folder: Path, packed: Packed) -> None:
    """Replace the features in the served index by those of the served network, which int8 has changed."""
    index = neighbors.read(folder)
    if index is None:
        return
    predictor = Predictor(folder)
    parts = candidate.parts(len(index.rows), predictor.card.side)
    found = [predictor.embedded(packed.images[index.rows[part]])[1] for part in parts]
    vectors = np.concatenate([part for part in found if part is not None]).astype(np.float16)
    neighbors.write(folder, replace(index, vectors=vectors))
