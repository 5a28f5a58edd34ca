"""Predictions of a candidate or of the served model, without torch.

`Predictor.answer` is the only way from pixels to an answer: logits, calibrated probabilities, and whether they are
confident. `darkroom predict`, the service and its check at startup call it with the pixels from `images.decode`;
packaging compares the results of the same steps with the evaluated ones.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.candidate import Card
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.neighbors import read as read_index
from darkroom.thresholds import NEEDS_INDEX, Outputs

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From version 1.29 on, onnxruntime reports what it runs, including models, to its vendor unless this is set before the
import. Other modules may therefore import it only after this one."""
Unread = TypeVar("Unread")
"""The reason why an image could not be decoded, in the caller's own type."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Neighbor:
    """A training image that resembles the predicted one."""

    name: str
    """Its path in the archive or folder of the training images."""
    label: str
    similarity: float
    """Cosine of the angle between the features of both images, -1 to 1."""
    place: int
    """Its position in the index."""


@dataclass(frozen=True)
class Answer:
    """The prediction for one image."""

    probabilities: npt.NDArray[np.float64]
    """Calibrated, 0 to 1, shape (classes,)."""
    confident: bool | None
    """Whether the prediction is as reliable as on validation; None if the model was evaluated without thresholds."""
    in_distribution: bool | None
    """Whether the image resembles the training images; None as above."""
    neighbors: list[Neighbor] = field(default_factory=list)
    """The most similar training images, the most similar first; empty if not requested."""

    def top(self, classes: Sequence[str], count: int) -> list[tuple[str, float]]:
        """Return the `count` most probable of the card's `classes` with their probabilities, the largest first."""
        order = (-self.probabilities).argsort(kind="stable")[:count]
        return [(classes[index], float(self.probabilities[index])) for index in order]


def interpret(outputs: Outputs, card: Card) -> list[Answer]:
    """Return the answers of the model that `card` describes for its `outputs`."""
    probabilities = candidate.softmax(outputs.logits, card.temperature)
    if card.thresholds is None:
        return [Answer(row, None, None) for row in probabilities]
    known, confident = card.thresholds.verdicts(outputs, card.temperature)
    return [Answer(*row) for row in zip(probabilities, confident.tolist(), known.tolist(), strict=True)]


class Predictor:
    """`model.onnx`, `card.json` and, if there is one, the index of training images of a folder, ready for inference.

    `threads` is the number of threads per call; with 0, onnxruntime uses one per core. `temperature` replaces that of
    the card; the card of a candidate has none yet.
    """

    def __init__(self, folder: Path, threads: int = 0, temperature: float | None = None) -> None:
        model = folder / "model.onnx"
        if not model.is_file():
            raise DarkroomError(f"{naming.shown(model)} is missing: run `dvc repro` first")
        import onnxruntime

        card = candidate.read_card(folder)
        self.card = card if temperature is None else replace(card, temperature=temperature)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        # Models of older versions have no output `features`.
        has_features = "features" in [output.name for output in self._session.get_outputs()]
        self.index = read_index(folder) if has_features else None

    def logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 logits, shape (N, classes), for uint8 images of shape (N, S, S, 3)."""
        return self._run(images, ["logits"])[0]

    def embedded(self, images: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return logits and what the index searches for: float32, shape (N, dimensions), None without an index."""
        if self.index is None:
            return self.logits(images), None
        logits, features = self._run(images, ["logits", "features"])
        return logits, self.index.embed(features)

    def outputs(self, images: Pixels) -> Outputs:
        """Return logits and similarities for uint8 images of shape (N, S, S, 3)."""
        logits, embedded = self.embedded(images)
        return Outputs(logits, None if self.index is None or embedded is None else self.index.score(embedded))

    def _run(self, images: Pixels, names: list[str]) -> Sequence[npt.NDArray[np.float32]]:
        side = self.card.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"images must be uint8 of shape (N, {side}, {side}, 3), not {images.dtype} {images.shape}")
        outputs: Sequence[npt.NDArray[np.float32]] = self._session.run(names, {"images": images})
        return outputs

    def logits_in_parts(self, images: Pixels, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """Return the same as `logits` for any number of images, at least 1, in bounded memory.

        rows: the images to predict, int64; by default all. A memory map is read in parts.
        """
        rows = np.arange(len(images)) if rows is None else rows
        return np.concatenate([self.logits(images[rows[part]]) for part in candidate.parts(len(rows), self.card.side)])

    def outputs_in_parts(self, images: Pixels, rows: npt.NDArray[np.int64] | None = None) -> Outputs:
        """Return the same as `outputs` for any number of images, as for `logits_in_parts`."""
        rows = np.arange(len(images)) if rows is None else rows
        parts = candidate.parts(len(rows), self.card.side)
        return Outputs.concatenated([self.outputs(images[rows[part]]) for part in parts])

    def probabilities(self, images: Pixels, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, shape (N, classes), of any number of images, as for `logits_in_parts`."""
        return candidate.softmax(self.logits_in_parts(images, rows), self.card.temperature)

    def answer(self, decoded: Sequence[Pixels | Unread], neighbors: int = 0) -> list[Answer | Unread]:
        """Return the answer to each image of `decoded`, uint8 of shape (S, S, 3), predicted as one batch.

        Items that are not images are returned unchanged, in their places. `neighbors` is the number of training images
        that an answer contains; there are none if the model has no index with their names.
        """
        images = [item for item in decoded if isinstance(item, np.ndarray)]
        answers = iter(self._answer(np.stack(images), neighbors) if images else ())
        return [next(answers) if isinstance(item, np.ndarray) else item for item in decoded]

    def _answer(self, images: Pixels, neighbors: int) -> list[Answer]:
        scored = self.card.thresholds is not None and self.card.thresholds.score in NEEDS_INDEX
        listed = self.index is not None and bool(neighbors and self.index.names)
        logits, embedded = self.embedded(images) if scored or listed else (self.logits(images), None)
        if self.index is None or embedded is None:
            return interpret(Outputs(logits), self.card)
        answers = interpret(Outputs(logits, self.index.score(embedded) if scored else None), self.card)
        if not listed:
            return answers
        places, similarities = self.index.nearest(embedded, neighbors)
        nearest = [self._named(*found) for found in zip(places, similarities, strict=True)]
        return [replace(answer, neighbors=found) for answer, found in zip(answers, nearest, strict=True)]

    def _named(self, places: npt.NDArray[np.int64], similarities: npt.NDArray[np.float32]) -> list[Neighbor]:
        assert self.index is not None
        return [
            Neighbor(
                self.index.names[place], self.card.classes[self.index.labels[place]], float(similarity), int(place)
            )
            for place, similarity in zip(places, similarities, strict=True)
        ]
