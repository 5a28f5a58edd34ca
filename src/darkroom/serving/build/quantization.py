"""Quantization of the served network to int8: a quarter of the size, often faster, used only if accuracy is kept.

Weights and activations become 8-bit integers, with a scale for each tensor or channel (Jacob et al., Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018). Implemented by onnxruntime.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from darkroom import candidate, timing
from darkroom.foundations import files
from darkroom.packed import Packed, Split
from darkroom.predictor import Predictor
from darkroom.serving.settings import PackageSettings

CALIBRATION = 256
"""Largest number of training images for calibrating the ranges of activations."""


@dataclass(frozen=True)
class Side:
    """Accuracy, size and speed of one of the two networks."""

    accuracy: float
    """On validation, 0 to 1."""
    bytes: int
    """Size of its ONNX file."""
    milliseconds: float
    """Median time of a call with one image on one thread, without decoding; varies between runs."""


@dataclass(frozen=True)
class Quantization:
    """Comparison of the float network with its int8 variant, the content of `quantization.json`."""

    float32: Side
    int8: Side
    largest_difference: float
    """Largest difference of one calibrated probability on validation."""
    max_loss: float
    """Largest drop in accuracy that was allowed for int8."""
    accepted: bool
    """Whether int8 is served."""

    def __str__(self) -> str:
        what = (
            f"int8: validation accuracy {self.int8.accuracy:.2%} (float32: {self.float32.accuracy:.2%}), "
            f"{self.int8.bytes / 1e6:.2f} MB ({self.float32.bytes / 1e6:.2f} MB), "
            f"{self.int8.milliseconds:.2f} ms per image ({self.float32.milliseconds:.2f} ms)"
        )
        if self.accepted:
            return f"{what}; int8 is served"
        loss = self.float32.accuracy - self.int8.accuracy
        return f"{what}; the loss of {loss:.2%} exceeds {self.max_loss:.2%}, so float32 is served"


def quantize(folder: Path, settings: PackageSettings, packed: Packed, split: Split, seed: int) -> Quantization | None:
    """Create an int8 variant of `folder`'s model.onnx and replace the original if it is accurate enough.

    Writes `quantization.json` in either case; `seed` selects the training images. Returns None, without doing anything,
    if `settings` do not request int8.
    """
    if settings.precision == "float32":
        return None
    model = folder / "model.onnx"
    rows = split.rows("validation")
    with TemporaryDirectory(prefix="darkroom-") as temporary:
        trial = Path(temporary)
        candidate.write_card(trial, candidate.read_card(folder))
        images = _some(packed, split.rows("train"), seed)
        _convert(model, trial / "model.onnx", images)
        before, after = Predictor(folder, threads=1), Predictor(trial, threads=1)
        answers = [predictor.probabilities(packed.images, rows) for predictor in (before, after)]
        sides = [
            Side(
                accuracy=float((answer.argmax(axis=1) == split.labels[rows]).mean()),
                bytes=(where / "model.onnx").stat().st_size,
                milliseconds=timing.milliseconds(partial(predictor.probabilities, packed.images[rows[:1]])),
            )
            for answer, where, predictor in zip(answers, (folder, trial), (before, after), strict=True)
        ]
        result = Quantization(
            float32=sides[0],
            int8=sides[1],
            largest_difference=float(np.abs(answers[0] - answers[1]).max()),
            max_loss=settings.max_loss,
            accepted=round(sides[0].accuracy - sides[1].accuracy, 9) <= settings.max_loss,
        )
        if result.accepted:
            model.write_bytes((trial / "model.onnx").read_bytes())
    files.write_json(folder / "quantization.json", asdict(result))
    return result


def read(folder: Path) -> Quantization | None:
    """Return the result of `quantize` for a served folder; None if int8 was not requested."""
    path = folder / "quantization.json"
    if not path.is_file():
        return None
    fields = files.read_json(path)
    return Quantization(**fields | {name: Side(**fields[name]) for name in ("float32", "int8")})


def _some(packed: Packed, rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint8]:
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:CALIBRATION])
    images: npt.NDArray[np.uint8] = packed.images[chosen]
    return images


def _convert(source: Path, target: Path, images: npt.NDArray[np.uint8]) -> None:
    """Write the int8 variant of an ONNX file; `images`, shape (N, S, S, 3), calibrate its activation ranges."""
    # Imported here: they take a second, and packing without int8 does not need them.
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    # Ranges measured at each call instead (`quantize_dynamic`) do not make convolutions faster: 1.7 ms compared with
    # 2.0 ms for resnet9 and 0.16 ms with 0.13 ms for lab_cnn, while fixed ranges reduce the 2.0 ms to 0.6 ms.
    quantization.quantize_static(
        str(prepared),
        str(target),
        _Reader(images),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


class _Reader:
    """Provides the calibration images in batches; onnxruntime requires only `get_next`."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._batches = iter(np.array_split(images, -(-len(images) // 32)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return {"images": next(self._batches)}

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch as the network's input, None after the last."""
        return next(self, None)
