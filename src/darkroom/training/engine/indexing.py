"""The index of training images that a candidate contains, by the features of its network."""

import numpy as np
import numpy.typing as npt
from torch import nn

from darkroom import neighbors
from darkroom.neighbors import Index
from darkroom.packed import Split
from darkroom.training.engine import scoring
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute

Known = tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]
"""Positions in the training split, and the features of these images, shape (positions, values)."""


def index_training(
    network: nn.Module,
    data: Data,
    split: Split,
    compute: Compute,
    seed: int,
    known: Known | None,
    compare: bool,
) -> tuple[Index, npt.NDArray[np.float32] | None]:
    """Return an index of training images and, if `compare` is set, the similarity of each training image to others.

    `data` is the training split. Features are those of `known`; without them, the network computes those of the images
    that will be in the index. `compare` needs `known` features of all training images.
    """
    rows = split.rows("train")
    labels = split.labels[rows]
    if known is None:
        positions = neighbors.sample(labels, seed=seed)
        reduced = scoring.reduced_features(network, data.subset(positions), compute)
    else:
        positions, features = known
        if not compare:  # of hundreds of thousands of images, the features in float32 would need gigabytes
            some = neighbors.sample(labels[positions], seed=seed)
            positions, features = positions[some], features[some]
        reduced = neighbors.reduce(features)
    chosen = neighbors.sample(labels[positions], seed=seed)
    index = neighbors.build(reduced[chosen], labels[positions[chosen]], rows[positions[chosen]])
    if not compare:
        return index, None
    places = np.full(len(positions), -1)
    places[chosen] = np.arange(len(chosen))
    return index, index.score(reduced @ index.basis.astype(np.float32), places)
