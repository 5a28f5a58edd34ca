"""Verification of a served folder at startup: its hash, its classes, and its prediction for an example."""

from pathlib import Path

import numpy as np

from darkroom import images, neighbors
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.serving import examples, served
from darkroom.serving.served import Served
from darkroom.thresholds import NEEDS_INDEX

TOLERANCE = {"float32": 0.01, "int8": 0.1}
"""Largest difference of the example's probabilities: processors round differently, especially for int8."""
REMEDY = "restore the folder (`dvc checkout models/served`, or copy the Bento again)"


def open_verified(folder: Path, found: Served) -> Predictor:
    """Return the model in `folder`, on one thread, after verifying its prediction for an example against `found`.

    Raises DarkroomError when a file is missing, cannot be read, or is not the one that was packaged.
    """
    for name in ("model.onnx", "card.json"):
        if not (folder / name).is_file():
            raise DarkroomError(f"{folder / name} is missing: {REMEDY}")
    try:
        if (version := served.version(folder)) != found.version:
            raise DarkroomError(
                f"{folder}: model.onnx, card.json or neighbors.npz is not the packaged one (version {found.version} in "
                f"service.json, but {version}): {REMEDY}"
            )
        predictor = Predictor(folder, threads=1)
        thresholds = predictor.card.thresholds
        if predictor.index is None and thresholds is not None and thresholds.score in NEEDS_INDEX:
            raise DarkroomError(f"{folder / neighbors.NAME} is missing, and the thresholds need it: {REMEDY}")
        answer = answer_example(folder, predictor)
        if (text := folder / "model_card.md").exists():
            text.read_text(encoding="utf-8")
    except DarkroomError:
        raise
    except Exception as error:  # any error of JSON, onnxruntime or the system for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DarkroomError(f"{folder} cannot be served ({reason}): {REMEDY}") from None
    _compare(folder, found, answer)
    return predictor


def answer_example(folder: Path, predictor: Predictor) -> list[float] | None:
    """Return the calibrated probabilities of the first example in `folder`; None if it has no examples.

    Raises DarkroomError when a listed example is missing or damaged, or the network does not fit the card.
    """
    listed = examples.read(folder)
    for example in listed:
        path = folder / examples.FOLDER / example.file
        if path.parent != folder / examples.FOLDER or not path.is_file():
            raise DarkroomError(f"{path} is missing: {REMEDY}")
        if example.label not in predictor.card.classes:
            raise DarkroomError(f"{path} shows {example.label!r}, which is not a class of the model: {REMEDY}")
    side, fit = predictor.card.image_size, predictor.card.fit
    pixels = np.zeros((side, side, 3), np.uint8)
    if listed:
        path = folder / examples.FOLDER / listed[0].file
        try:
            pixels = images.decode(path.read_bytes(), side, fit=fit).pixels
        except images.ImageError as error:
            raise DarkroomError(f"{path}: {error}: {REMEDY}") from None
    row = predictor.probabilities(pixels[np.newaxis])[0]
    if row.shape != (count := len(predictor.card.classes),) or not np.isfinite(row).all():
        raise DarkroomError(f"{folder}: the network's output does not match the {count} classes of card.json: {REMEDY}")
    return row.round(6).tolist() if listed else None


def _compare(folder: Path, found: Served, answer: list[float] | None) -> None:
    """Raise DarkroomError when the prediction for the example differs from the packaged one."""
    if found.example is None:
        return
    path = folder / examples.FOLDER / "examples.json"
    if answer is None:
        raise DarkroomError(f"{path} is missing or empty: {REMEDY}")
    expected = found.example
    if len(answer) != len(expected) or np.abs(np.subtract(answer, expected)).max() > TOLERANCE[found.precision]:
        raise DarkroomError(f"{folder}: the first image of {path} is not answered as when it was packaged: {REMEDY}")
