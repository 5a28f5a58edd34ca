"""The candidate: the folder that a training stage writes and later stages read.

| file | content |
|---|---|
| `card.json` | a `Card`: everything needed to use the weights |
| `predictions.npz` | `Predictions`: float32 logits of shape (rows, classes), in the order of the split |
| `weights.safetensors` | the parameters |
| `model.onnx` | uint8 images (N, S, S, 3) to float32 logits (N, classes) and features (N, values); networks only |
| `neighbors.npz` | an index of training images by their features, see neighbors.py; networks only |
| `history/` | DVCLive's curves, one TSV file per metric; networks trained by epochs only |
| `augmented.png` | one augmented batch; networks trained by epochs only |
| `folds.json` | `Folds`: cross-validation scores; probes only, if `select.folds` is set |

Logits are unnormalised log-probabilities: probabilities are `softmax(logits / temperature)`.
"""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from darkroom import framing
from darkroom.foundations import files, naming
from darkroom.framing import Fit
from darkroom.thresholds import Outputs, Thresholds

Kind = Literal["baseline", "scratch", "transfer"]


@dataclass(frozen=True)
class Layer:
    """One layer of a network, or what a block computes in addition to its layers."""

    name: str
    """Dotted path in the network: layers of a block have its name as prefix."""
    kind: str
    """Description in words."""
    output: list[int]
    """Output shape for one image: (channels, height, width) or (values,)."""
    parameters: int


@dataclass(frozen=True)
class Card:
    """What a candidate is, how it was made and how to use it."""

    name: str
    kind: Kind
    architecture: str
    """One-line description of the model."""
    classes: list[str]
    """Class names in the order of the logits."""
    image_size: int
    """Side of the square input, in pixels."""
    parameters: int
    """Number of parameters of the model."""
    data: str
    """SHA-256 over the packed images and the split that it was trained on."""
    training: dict[str, Any]
    """All parameters of its training."""
    seconds: float
    """Training time, including export and predictions; 0 in the served card, so that equal models give equal bytes."""
    epochs: int = 0
    best_epoch: int = 0
    """The epoch (from 1) whose weights were kept; 0 if there are no epochs or none improved on the initial weights."""
    mean: list[float] = field(default_factory=list)
    """Normalisation inside the model, per channel, for values from 0 to 1; empty for none."""
    std: list[float] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Versions, device, precision and threads."""
    temperature: float = 1.0
    """Divides the logits before the softmax; fitted on validation, set in the served card."""
    network: dict[str, Any] = field(default_factory=dict)
    """How to rebuild the network: its name in the zoo and its arguments."""
    scores: dict[str, float] = field(default_factory=dict)
    """Scores on its own test split, for cards that are shared without the metrics."""
    thresholds: Thresholds | None = None
    """Thresholds for confident predictions; fitted on validation, set in the served card."""
    layers: list[Layer] = field(default_factory=list)
    """The network from input to output; empty for the baseline."""
    fit: Fit = framing.DEFAULT
    """How images of any proportions became squares in its training data, and become squares for its predictions."""

    @property
    def side(self) -> int:
        """Side in pixels at which the network computes, which determines how many images fit into memory at once."""
        return max(self.image_size, int(self.network.get("side", 0)))


@dataclass(frozen=True)
class Predictions:
    """Logits, float32, shape (rows, classes), for each split's rows in ascending order.

    A model that was also fitted to the validation images must not be evaluated on them. Its `validation` logits are
    then out-of-fold: of each image, by a model that was fitted in the same way without the image's fold.
    """

    validation: npt.NDArray[np.float32]
    """Of images that the model giving these logits was not fitted to."""
    test: npt.NDArray[np.float32]
    training: npt.NDArray[np.float32] | None = None
    """Out-of-fold logits of the training images, if those of `validation` are out-of-fold."""
    exported: npt.NDArray[np.float32] | None = None
    """What the exported model gives for the validation images, if it was fitted to them."""
    validation_similarity: npt.NDArray[np.float32] | None = None
    """Similarity to the nearest training images, `Index.score`, shape (rows,); None for the baseline."""
    test_similarity: npt.NDArray[np.float32] | None = None
    training_similarity: npt.NDArray[np.float32] | None = None
    """To other training images; None if there are no logits of the training images."""

    @property
    def held_out(self) -> dict[Literal["train", "validation", "test"], npt.NDArray[np.float32]]:
        """All logits for fitting a temperature or thresholds, by split: of images that were not fitted to."""
        if self.training is None:
            return {"validation": self.validation}
        return {"train": self.training, "validation": self.validation}

    @property
    def outputs(self) -> Outputs:
        """`held_out` and the similarities of these images, together, training images first."""
        similarities = [self.training_similarity, self.validation_similarity][-len(self.held_out) :]
        parts = zip(self.held_out.values(), similarities, strict=True)
        return Outputs.concatenated([Outputs(logits, similarity) for logits, similarity in parts])

    @property
    def reproducible(self) -> npt.NDArray[np.float32]:
        """The logits that the exported model must give for the validation images."""
        return self.validation if self.exported is None else self.exported


@dataclass(frozen=True)
class Folds:
    """Scores of linear heads in repeated cross-validation on the training and validation images."""

    folds: int
    repeats: int
    images: int
    """In all folds; test images are in none."""
    accuracy: float
    """Over all images, averaged over the repeats, like the next two."""
    macro_f1: float
    log_loss: float
    """In nats, without a temperature."""
    spread: float
    """Standard deviation of the accuracy between folds."""


def write_card(folder: Path, card: Card) -> None:
    """Write `card.json`."""
    files.write_json(folder / "card.json", asdict(card))


def read_card(folder: Path) -> Card:
    """Read `card.json`. Raises DarkroomError when it names a fit that this version does not have."""
    fields = files.read_json(folder / "card.json")
    fields["fit"] = framing.read(fields, naming.shown(folder / "card.json"))
    thresholds, layers = fields.pop("thresholds", None), fields.pop("layers", [])
    return Card(
        **fields,
        thresholds=Thresholds(**thresholds) if thresholds else None,
        layers=[Layer(**layer) for layer in layers],
    )


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write `predictions.npz`; equal arrays give equal bytes."""
    arrays = {name: array for name, array in vars(predictions).items() if array is not None}
    np.savez(folder / "predictions.npz", **arrays)


def read_predictions(folder: Path) -> Predictions:
    """Read `predictions.npz`."""
    with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
        return Predictions(**arrays)


def read_folds(folder: Path) -> Folds | None:
    """Read `folds.json`; None if there is none."""
    path = folder / "folds.json"
    return Folds(**files.read_json(path)) if path.is_file() else None


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training history."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    validation_loss: float
    validation_accuracy: float


def read_history(folder: Path) -> list[Epoch]:
    """Return the curves that DVCLive wrote under `history/`, by epoch; empty if there is no history."""
    curves = folder / "history" / "plots" / "metrics"
    if not curves.is_dir():
        return []
    train_loss = _read_curve(curves / "train" / "loss.tsv")
    validation_loss = _read_curve(curves / "validation" / "loss.tsv")
    validation_accuracy = _read_curve(curves / "validation" / "accuracy.tsv")
    return [
        Epoch(epoch, train_loss[epoch], validation_loss[epoch], validation_accuracy[epoch])
        for epoch in sorted(train_loss)
    ]


def _read_curve(path: Path) -> dict[int, float]:
    """Return one of DVCLive's curves by epoch: its columns are `step` and the last part of the metric's name."""
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["step"]): float(row[path.stem]) for row in csv.DictReader(file, delimiter="\t")}


def chunk_size(image_size: int) -> int:
    """Return how many images to predict at once: 512 at 32 pixels, fewer at larger sizes, for about constant memory."""
    return max(1, 512 * 32**2 // image_size**2)


def parts(count: int, image_size: int) -> Iterator[slice]:
    """Yield the parts, together `count` images, that are predicted one after the other: `chunk_size` images each."""
    size = chunk_size(image_size)
    return (slice(start, start + size) for start in range(0, count, size))


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Return probabilities, shape (rows, classes), each row summing to 1, computed in float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
