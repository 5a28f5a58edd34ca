"""The served model: uploads in, labels or reasons out, one for each upload and in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import images
from darkroom.predictor import Predictor
from darkroom.serving import served
from darkroom.serving.uploads import MEGABYTE, Upload


@dataclass(frozen=True)
class Label:
    """A class and its calibrated probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Failure:
    """Why one image has no answer; `status` is the HTTP status that fits when none of the images has one."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Answer:
    """The answer for one upload: its most probable labels, or why there are none."""

    name: str
    outcome: list[Label] | Failure


class Model:
    """A served folder, opened once a process and shared by its threads."""

    def __init__(self, folder: Path) -> None:
        self.served = served.read(folder)
        # One thread a call, and as many calls at once as there are cores. Measured on two busy cores with a small
        # network: 1.3 to 2 times the images a second of two threads a call, for one client and for many.
        self.predictor = Predictor(folder, threads=1)

    def answer(self, uploads: Sequence[Upload], top_k: int) -> list[Answer]:
        """Return one answer for each upload; an upload that cannot be read does not disturb the others."""
        decoded = [self._decode(upload) for upload in uploads]
        pixels = [item for item in decoded if not isinstance(item, Failure)]
        rows = iter(self.predictor.probabilities(np.stack(pixels)) if pixels else ())
        return [
            Answer(upload.name, item if isinstance(item, Failure) else self._labels(next(rows), top_k))
            for upload, item in zip(uploads, decoded, strict=True)
        ]

    def _decode(self, upload: Upload) -> npt.NDArray[np.uint8] | Failure:
        limits = self.served.limits
        if len(upload.data) > limits.max_megabytes * MEGABYTE:
            size = f"{len(upload.data) / MEGABYTE:.1f} MB"
            reason = f"{size} is more than the {limits.max_megabytes:g} MB allowed: make the picture smaller"
            return Failure(413, "file_too_large", reason)
        try:
            max_pixels = int(limits.max_megapixels * 1_000_000)
            return images.decode(upload.data, self.predictor.card.image_size, max_pixels).pixels
        except images.ImageError as error:
            return Failure(422, "invalid_image", str(error))

    def _labels(self, probabilities: npt.NDArray[np.float64], top_k: int) -> list[Label]:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [Label(self.predictor.card.classes[index], float(probabilities[index])) for index in order]
