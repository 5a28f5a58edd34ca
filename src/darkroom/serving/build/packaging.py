"""Packaging of the best candidate, verifying that it gives the evaluated predictions."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from darkroom import candidate
from darkroom.candidate import Card
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Packed, Split
from darkroom.predictor import Predictor, interpret
from darkroom.serving import examples, integrity, served
from darkroom.serving.build import training_images
from darkroom.serving.build.quantization import quantize
from darkroom.serving.served import DIGITS, REFERENCES, Parity, Reference, Served
from darkroom.serving.settings import PackageSettings, ServeSettings
from darkroom.thresholds import Outputs, Thresholds

TOLERANCE = 1e-5
"""Largest difference of a probability that counts as equal."""


@dataclass(frozen=True)
class Best:
    """The evaluation's choice, as in `best.json`."""

    name: str
    metric: str
    value: float
    reason: str


def read_best(path: Path) -> Best:
    """Read `best.json`."""
    return Best(**files.read_json(path))


def write_served(
    folder: Path,
    best: Best,
    candidates: Path,
    packed: Packed,
    split: Split,
    evaluation: dict[str, Any],
    limits: ServeSettings,
    settings: PackageSettings,
    seed: int,
) -> Served:
    """Write the served folder for the best of `candidates` and return the content of its `service.json`.

    `evaluation` is `scores.json`, which contains temperature and thresholds; `seed` selects the examples, and the
    training images for the calibration of int8.
    Raises DarkroomError when the packaged model does not give the evaluated predictions.
    """
    source = candidates / best.name
    model = source / "model.onnx"
    if not model.is_file():
        raise DarkroomError(f"{model} is missing: only networks can be served; train one with `dvc repro`")
    shutil.copyfile(model, folder / "model.onnx")
    found = evaluation["candidates"][best.name]
    thresholds = Thresholds(**found["thresholds"]) if found.get("thresholds") else None
    temperature: float = found["temperature"]
    card = replace(candidate.read_card(source), temperature=temperature, thresholds=thresholds, seconds=0.0)
    candidate.write_card(folder, card)
    training_images.write(folder, source, packed, settings, thresholds)
    rows = split.rows("validation")
    predictions = candidate.read_predictions(source)
    parity = prove(Predictor(folder), packed, rows, candidate.softmax(predictions.reproducible, card.temperature))
    quantized = quantize(folder, settings, packed, split, seed)
    outputs = Outputs(predictions.validation, predictions.validation_similarity)
    if quantized and quantized.accepted:
        training_images.embed_again(folder, packed)
        # A model that was fitted to the validation images is more confident on them than it will be on unknown ones.
        if predictions.exported is None:
            outputs = Predictor(folder).outputs_in_parts(packed.images, rows)
    _write_examples(folder, packed, split, seed)
    result = Served(
        version=served.version(folder),
        limits=limits,
        metrics={name: found[name] for name in ("validation", "test")},
        reason=best.reason,
        parity=parity,
        precision="int8" if quantized and quantized.accepted else "float32",
        reference=refer(outputs, card),
        foreign=_foreign(evaluation),
        example=integrity.answer_example(folder, Predictor(folder)),
    )
    served.write(folder, result)
    return result


def _foreign(evaluation: dict[str, Any]) -> dict[str, float] | None:
    selective = evaluation.get("best", {}).get("selective_prediction")
    return (
        {kind: figures["confident"] for kind, figures in selective["out_of_distribution"].items()}
        if selective
        else None
    )


def prove(
    predictor: Predictor, packed: Packed, rows: npt.NDArray[np.int64], evaluated: npt.NDArray[np.float64]
) -> Parity:
    """Return how closely `predictor` reproduces `evaluated` on packed `rows`: probabilities, shape (rows, classes).

    Raises DarkroomError when the shapes differ, or any probability differs by more than `TOLERANCE`.
    """
    name = predictor.card.name
    expected = (len(rows), len(predictor.card.classes))
    if evaluated.shape != expected:
        raise DarkroomError(
            f"{name} was evaluated on {evaluated.shape} rows and classes, but its card and the split have {expected}: "
            "run `dvc repro` so that all of them are from one run"
        )
    # NaN must fail too, so it is replaced by the largest possible difference.
    difference = np.nan_to_num(np.abs(predictor.probabilities(packed.images, rows) - evaluated), nan=1.0)
    largest = float(difference.max())
    if largest > TOLERANCE:
        raise DarkroomError(
            f"{name}'s model.onnx differs from its evaluated predictions by up to {largest:.2g} in a probability "
            f"({TOLERANCE:g} is allowed), so it is not the evaluated model: train it again with `dvc repro --force`"
        )
    return Parity(len(rows), largest)


def _write_examples(folder: Path, packed: Packed, split: Split, seed: int) -> None:
    rows = split.rows("test")
    rows = rows[examples.choose(split.labels[rows], seed)]
    examples.write(folder, packed.images[rows], [split.classes[label] for label in split.labels[rows]])


def refer(outputs: Outputs, card: Card) -> Reference:
    """Return a summary of the predictions `outputs` of the model that `card` describes."""
    answers = interpret(outputs, card)
    probabilities = np.stack([answer.probabilities for answer in answers])
    largest = np.sort(probabilities.max(axis=1))
    kept = np.linspace(0, len(largest) - 1, min(len(largest), REFERENCES)).round().astype(np.int64)
    labels = np.bincount(probabilities.argmax(axis=1), minlength=len(card.classes))
    return Reference(
        labels.tolist(),
        largest[kept].round(DIGITS).tolist(),
        sum(answer.confident is True for answer in answers) if card.thresholds else None,
        sum(answer.in_distribution is True for answer in answers) if card.thresholds else None,
    )
