"""Predictions of a candidate or of the served model, without torch."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From version 1.29 on, onnxruntime reports what it runs, including models, to its vendor unless this is set before the
import. Other modules may therefore import it only after this one."""


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

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 logits, shape (N, classes), for uint8 images of shape (N, S, S, 3)."""
        side = self.card.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"images must be uint8 of shape (N, {side}, {side}, 3), not {images.dtype} {images.shape}")
        outputs: Sequence[npt.NDArray[np.float32]] = self._session.run(["logits"], {"images": images})
        return outputs[0]

    def logits_in_parts(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the same as `logits` for any number of images, at least 1, in bounded memory."""
        size = candidate.chunk_size(self.card.side)
        return np.concatenate([self.logits(images[start : start + size]) for start in range(0, len(images), size)])

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, shape (N, classes), for uint8 images of shape (N, S, S, 3)."""
        return candidate.softmax(self.logits(images), self.card.temperature)
