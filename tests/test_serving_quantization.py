"""int8 in place of float32: smaller, and only where accuracy stays within what was allowed."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from darkroom import packed
from darkroom.predictor import Predictor
from darkroom.serving import served
from darkroom.serving.build import packaging, quantization
from darkroom.serving.build.quantization import Quantization, Side
from darkroom.serving.settings import PackageSettings
from tests.factories_serving import BEST, EVALUATION, LIMITS, write_judged


def package(top: Path, settings: PackageSettings) -> served.Served:
    """Package an evaluated project anew."""
    folder = top / served.FOLDER
    folder.mkdir(parents=True)
    split = packed.read_split(top / "data" / "split.csv")
    store = packed.open_packed(top / "data" / "packed")
    best = packaging.Best(**BEST)
    return packaging.write_served(
        folder, best, top / "models" / "candidates", store, split, EVALUATION, LIMITS, settings, 0
    )


def test_int8_is_smaller_and_answers_alike(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    result = package(top, PackageSettings(precision="int8", max_loss=0.1))
    folder, source = top / served.FOLDER, top / "models" / "candidates" / "small"
    found = quantization.read(folder)
    assert found is not None
    assert found.accepted
    assert result.precision == "int8"
    assert found.float32.bytes == (source / "model.onnx").stat().st_size
    assert found.int8.bytes == (folder / "model.onnx").stat().st_size < 0.7 * found.float32.bytes
    assert 0 < found.largest_difference < 0.1
    # What is told is what the served file does.
    split, store = packed.read_split(top / "data" / "split.csv"), packed.open_packed(top / "data" / "packed")
    rows = split.rows("validation")
    for place, side in ((folder, found.int8), (source, found.float32)):
        answers = Predictor(place).logits(store.images[rows]).argmax(axis=1)
        assert side.accuracy == pytest.approx((answers == split.labels[rows]).mean())
        assert side.milliseconds > 0
    assert "DequantizeLinear" in {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}


def test_what_loses_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(source: Path, target: Path, images: object) -> None:
        network = onnx.load(source)
        (weight,) = (tensor for tensor in network.graph.initializer if tensor.name == "weight")
        weight.raw_data = bytes(len(weight.raw_data))
        onnx.save(network, target)

    monkeypatch.setattr(quantization, "_convert", spoil)
    top = write_judged(tmp_path)
    result = package(top, PackageSettings(precision="int8"))
    folder, source = top / served.FOLDER, top / "models" / "candidates" / "small"
    found = quantization.read(folder)
    assert found is not None
    assert not found.accepted
    assert result.precision == "float32"
    assert (folder / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert str(found).endswith("exceeds 0.50%, so float32 is served")


def test_nothing_is_measured_unasked(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    assert package(top, PackageSettings()).precision == "float32"
    assert quantization.read(top / served.FOLDER) is None


def test_the_line_says_what_was_found() -> None:
    sides = Side(0.996, 6_300_000, 1.5), Side(0.99, 1_600_000, 0.7)
    found = Quantization(*sides, largest_difference=0.01, max_loss=0.01, accepted=True)
    figures = "validation accuracy 99.00% (float32: 99.60%), 1.60 MB (6.30 MB), 0.70 ms per image (1.50 ms)"
    assert str(found) == f"int8: {figures}; int8 is served"
    assert "the loss of 0.60% exceeds 0.50%" in str(replace(found, max_loss=0.005, accepted=False))
