"""The served folder: the evaluated model, its card, and metadata of the service.

| file | content |
|---|---|
| `model.onnx` | the best candidate's network, byte for byte, or its int8 variant |
| `card.json` | its card, with the temperature and the thresholds fitted on validation |
| `service.json` | a `Served` |
| `neighbors.npz` | an index of training images, if thresholds need it or predictions show it, see neighbors.py |
| `thumbnails.npz` | thumbnails of these images, if requested |
| `examples/` | test images to try it with, see examples.py |
| `quantization.json` | comparison of the float network with its int8 variant, if requested; not in the Bento |
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from darkroom import neighbors
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.serving.settings import Precision, ServeSettings

FOLDER = Path("models/served")
"""Location of the served folder, relative to the top folder of the project or of the Bento."""


@dataclass(frozen=True)
class Parity:
    """How well the packaged model agrees with the evaluated predictions."""

    rows: int
    """Number of validation rows that were predicted again."""
    largest_difference: float
    """Largest difference of one probability, over all rows and classes."""


@dataclass(frozen=True)
class Reference:
    """Summary of the predictions on validation images, with which `darkroom drift` compares later ones."""

    labels: list[int]
    """Number of predictions of each class, in the order of the card's classes."""
    confidences: list[float]
    """Largest probabilities, ascending: all of them, or `REFERENCES` evenly spaced ones."""
    confident: int | None = None
    """Number of confident predictions; None if no thresholds were fitted."""
    in_distribution: int | None = None


REFERENCES = 1_000
"""Number of stored probabilities, enough to detect a shift of the distribution by 0.05."""
DIGITS = 4
"""Decimals of the stored probabilities, to which later ones are rounded before they are compared."""


@dataclass(frozen=True)
class Served:
    """Metadata of the service besides the model and its card."""

    version: str
    """Version of the model: the start of a SHA-256 over `model.onnx`, `card.json` and the index if there is one, 12
    hexadecimal digits."""
    limits: ServeSettings
    metrics: dict[str, Any]
    """Metrics of the evaluation for `validation` and `test`."""
    reason: str
    """Why this candidate was selected."""
    parity: Parity
    """Agreement of the float network, also if int8 is served."""
    precision: Precision = "float32"
    """Precision of the served network; `metrics` are always those of the float network."""
    reference: Reference | None = None
    """None in folders of older versions."""
    foreign: dict[str, float] | None = None
    """Fraction of out-of-distribution images with confident predictions, by kind, 0 to 1; None without thresholds."""
    example: list[float] | None = None
    """Calibrated probabilities of the first example image, 0 to 1, from the packaged network; None if there are no
    examples, or in folders of older versions."""


_ADAPTER = TypeAdapter(Served)


def write(folder: Path, served: Served) -> None:
    """Write `service.json`."""
    files.write_json(folder / "service.json", _ADAPTER.dump_python(served, mode="json"))


def read(folder: Path) -> Served:
    """Read `service.json`. Raises DarkroomError when it is missing, unreadable or invalid."""
    path = folder / "service.json"
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DarkroomError(f"{naming.shown(path)} is missing: run `dvc repro` first") from None
    except OSError as error:
        raise DarkroomError(f"{naming.shown(path)} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise DarkroomError(
            f"{naming.shown(path)} does not fit this version: run `dvc repro` again ({reason})"
        ) from None


def version(folder: Path) -> str:
    """Return the value of `Served.version` for the model and the card in `folder`."""
    content = files.sha256(folder / "model.onnx") + files.sha256(folder / "card.json")
    if (index := folder / neighbors.NAME).is_file():
        content += files.sha256(index)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
