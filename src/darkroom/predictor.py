"""Predictions of a candidate or of the served model, without torch.

`Predictor.answer` is the only way from pixels to an answer: logits, calibrated probabilities, and whether they are
confident. `darkroom predict`, the service and its check at startup call it with the pixels from `images.decode`;
packaging compares the results of the same steps with the evaluated ones.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.candidate import Card
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From version 1.29 on, onnxruntime reports what it runs, including models, to its vendor unless this is set before the
import. Other modules may therefore import it only after this one."""
Unread = TypeVar("Unread")
"""The reason why an image could not be decoded, in the caller's own type."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """The prediction for one image."""

    probabilities: npt.NDArray[np.float64]
    """Calibrated, 0 to 1, shape (classes,)."""
    confident: bool | None
    """Whether the prediction is as reliable as on validation; None if the model was evaluated without thresholds."""
    in_distribution: bool | None
    """Whether the image resembles the training images; None as above."""

    def top(self, classes: Sequence[str], count: int) -> list[tuple[str, float]]:
        """Return the `count` most probable of the card's `classes` with their probabilities, the largest first."""
        order = (-self.probabilities).argsort(kind="stable")[:count]
        return [(classes[index], float(self.probabilities[index])) for index in order]


def interpret(logits: npt.NDArray[np.float32], card: Card) -> list[Answer]:
    """Return the answers of the model that `card` describes for its `logits`, shape (N, classes)."""
    probabilities = candidate.softmax(logits, card.temperature)
    if card.thresholds is None:
        return [Answer(row, None, None) for row in probabilities]
    known, confident = card.thresholds.verdicts(logits, card.temperature)
    return [Answer(*row) for row in zip(probabilities, confident.tolist(), known.tolist(), strict=True)]


class Predictor:
    """`model.onnx` and `card.json` of a folder, ready for inference.

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

    def logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 logits, shape (N, classes), for uint8 images of shape (N, S, S, 3)."""
        side = self.card.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"images must be uint8 of shape (N, {side}, {side}, 3), not {images.dtype} {images.shape}")
        outputs: Sequence[npt.NDArray[np.float32]] = self._session.run(["logits"], {"images": images})
        return outputs[0]

    def logits_in_parts(self, images: Pixels, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """Return the same as `logits` for any number of images, at least 1, in bounded memory.

        rows: the images to predict, int64; by default all. A memory map is read in parts.
        """
        rows = np.arange(len(images)) if rows is None else rows
        return np.concatenate([self.logits(images[rows[part]]) for part in candidate.parts(len(rows), self.card.side)])

    def probabilities(self, images: Pixels, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, shape (N, classes), of any number of images, as for `logits_in_parts`."""
        return candidate.softmax(self.logits_in_parts(images, rows), self.card.temperature)

    def answer(self, decoded: Sequence[Pixels | Unread]) -> list[Answer | Unread]:
        """Return the answer to each image of `decoded`, uint8 of shape (S, S, 3), predicted as one batch.

        Items that are not images are returned unchanged, in their places.
        """
        images = [item for item in decoded if isinstance(item, np.ndarray)]
        answers = iter(interpret(self.logits(np.stack(images)), self.card) if images else ())
        return [next(answers) if isinstance(item, np.ndarray) else item for item in decoded]
