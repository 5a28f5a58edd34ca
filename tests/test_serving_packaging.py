"""The served folder is written only when its model answers as the evaluated one did."""

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from darkroom import candidate, images, neighbors, packed
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from darkroom.serving import examples, integrity, served, thumbnails
from darkroom.serving.build import packaging, readme
from darkroom.serving.settings import PackageSettings, Shown
from darkroom.thresholds import Outputs, Score, Thresholds
from tests.factories_serving import EVALUATION, LIMITS, TEMPERATURE, write_judged, write_served


def tamper(model: Path, change: float) -> None:
    """Add `change` to one weight of an ONNX model."""
    network = onnx.load(model)
    (weight,) = (tensor for tensor in network.graph.initializer if tensor.name == "weight")
    values = numpy_helper.to_array(weight).copy()
    values[len(values) // 2, 0] += change
    weight.CopyFrom(numpy_helper.from_array(values, "weight"))
    onnx.save(network, model)


def package(
    top: Path, evaluation: dict[str, Any] = EVALUATION, seed: int = 0, settings: PackageSettings | None = None
) -> served.Served:
    """Package the best candidate of an evaluated project."""
    folder = top / served.FOLDER
    folder.mkdir(parents=True)
    split = packed.read_split(top / "data" / "split.csv")
    store = packed.open_packed(top / "data" / "packed")
    best = packaging.read_best(top / "models" / "best.json")
    return packaging.write_served(
        folder,
        best,
        top / "models" / "candidates",
        store,
        split,
        evaluation,
        LIMITS,
        settings or PackageSettings(),
        seed,
    )


def test_the_served_folder_holds_the_model_its_card_and_what_was_measured(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    result = package(top)
    folder, source = top / served.FOLDER, top / "models" / "candidates" / "small"
    assert (folder / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert candidate.read_card(folder).temperature == TEMPERATURE
    assert served.read(folder) == result
    assert result.metrics["test"]["accuracy"] == 0.88
    assert result.limits == LIMITS
    assert result.parity.rows == 24
    assert 0 <= result.parity.largest_difference < 1e-6


@pytest.mark.parametrize("shown", ["none", "names", "thumbnails"])
@pytest.mark.parametrize("score", ["neighbors", "energy"])
def test_training_images_travel_only_as_far_as_requested(tmp_path: Path, shown: Shown, score: Score) -> None:
    top = write_judged(tmp_path)
    thresholds = Thresholds(score, known=0.5, confident=0.8, coverage=0.9)
    found = EVALUATION["candidates"]["small"] | {"thresholds": asdict(thresholds)}
    evaluation = EVALUATION | {"candidates": {"small": found}}
    source = top / "models" / "candidates" / "small"
    given = candidate.read_predictions(source)
    similarity = np.linspace(0, 1, len(given.validation), dtype=np.float32)
    candidate.write_predictions(source, replace(given, validation_similarity=similarity))
    result = package(top, evaluation, settings=PackageSettings(neighbors=shown))
    folder = top / served.FOLDER
    assert result.reference is not None
    assert score == "energy" or result.reference.in_distribution == (similarity >= 0.5).sum()
    index, images = neighbors.read(folder), thumbnails.read(folder)
    assert (index is None) is (shown == "none" and score == "energy")
    store = packed.open_packed(top / "data" / "packed")
    rows = packed.read_split(top / "data" / "split.csv").rows("train")
    names = [] if shown == "none" else [store.records[row].name for row in rows]
    assert index is None or index.names == names
    assert len(images) == (len(rows) if shown == "thumbnails" else 0)
    training = store.images[rows].astype(int)
    for place, image in enumerate(images):
        shown_pixels = np.asarray(Image.open(io.BytesIO(image))).astype(int)
        assert np.abs(training - shown_pixels).mean(axis=(1, 2, 3)).argmin() == place
    if index is not None:
        (folder / neighbors.NAME).unlink()
        with pytest.raises(DarkroomError, match=r"neighbors.npz is not the packaged one"):
            integrity.open_verified(folder, result)
        served.write(folder, resealed := replace(result, version=served.version(folder)))
        if score == "neighbors":
            with pytest.raises(DarkroomError, match=r"neighbors.npz is missing, and the thresholds need it: restore"):
                integrity.open_verified(folder, resealed)


def test_the_card_carries_the_doubt_that_the_judge_fitted(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    thresholds = Thresholds("energy", known=1.5, confident=0.8, coverage=0.9)
    found = EVALUATION["candidates"]["small"] | {"thresholds": asdict(thresholds)}
    package(top, {"candidates": {"small": found}})
    assert candidate.read_card(top / served.FOLDER).thresholds == thresholds


def test_the_examples_are_test_pictures_with_their_classes(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    package(top)
    split, store = packed.read_split(top / "data" / "split.csv"), packed.open_packed(top / "data" / "packed")
    tests = {store.images[row].tobytes(): split.classes[split.labels[row]] for row in split.rows("test")}
    found = examples.read(top / served.FOLDER)
    assert len(found) == 9
    for example in found:
        data = (top / served.FOLDER / "examples" / example.file).read_bytes()
        assert tests[images.decode(data, 16).pixels.tobytes()] == example.label


def test_the_served_folder_knows_how_validation_was_answered(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    reference = package(top).reference
    logits = candidate.read_predictions(top / "models" / "candidates" / "small").validation
    probabilities = candidate.softmax(logits, TEMPERATURE)
    assert reference is not None
    assert reference.labels == np.bincount(probabilities.argmax(axis=1), minlength=3).tolist()
    assert reference.confidences == np.sort(probabilities.max(axis=1)).round(4).tolist()
    assert reference.confident is reference.in_distribution is None


@pytest.mark.parametrize("genuine", [True, False])
def test_a_model_fitted_to_validation_is_compared_with_its_own_answers(tmp_path: Path, genuine: bool) -> None:
    top = write_judged(tmp_path)
    folder = top / "models" / "candidates" / "small"
    found = candidate.read_predictions(folder)
    held_out = found.validation * np.float32(0.3)
    exported = found.validation if genuine else held_out
    candidate.write_predictions(folder, candidate.Predictions(held_out, found.test, held_out[:5], exported))
    if not genuine:
        with pytest.raises(DarkroomError, match=r"so it is not the evaluated model"):
            package(top)
        return
    result = package(top)
    assert result.parity.rows == len(held_out)
    # Unknown images get answers like the out-of-fold ones, not like those of the images that were fitted to.
    expected = candidate.softmax(held_out, TEMPERATURE).max(axis=1)
    assert result.reference is not None
    assert result.reference.confidences == np.sort(expected).round(4).tolist()


def test_of_many_answers_as_many_are_kept_as_show_the_distribution(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    card = candidate.read_card(write_judged(tmp_path) / "models" / "candidates" / "small")
    card = replace(card, thresholds=Thresholds("max_probability", known=0.5, confident=0.7, coverage=0.5))
    reference = packaging.refer(Outputs(logits), card)
    largest = candidate.softmax(logits).max(axis=1)
    assert len(reference.confidences) == served.REFERENCES
    shares = [0, 0.1, 0.5, 0.9, 1]
    assert np.quantile(reference.confidences, shares) == pytest.approx(np.quantile(largest, shares), abs=2e-3)
    assert (reference.in_distribution, reference.confident) == ((largest >= 0.5).sum(), (largest >= 0.7).sum())
    assert sum(reference.labels) == 5000


@pytest.mark.parametrize("change", [0.001, -1.0, float("nan")])
def test_a_model_that_was_not_judged_is_refused(tmp_path: Path, change: float) -> None:
    top = write_judged(tmp_path)
    tamper(top / "models" / "candidates" / "small" / "model.onnx", change)
    with pytest.raises(DarkroomError, match=r"small's model.onnx differs .*, so it is not the evaluated model: train"):
        package(top)


def test_predictions_of_another_split_are_refused(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    folder = top / "models" / "candidates" / "small"
    predictions = candidate.read_predictions(folder)
    candidate.write_predictions(folder, candidate.Predictions(predictions.validation[1:], predictions.test))
    with pytest.raises(DarkroomError, match=r"evaluated on \(23, 3\).*have \(24, 3\)"):
        package(top)


def test_a_candidate_without_network_is_refused(tmp_path: Path) -> None:
    top = write_judged(tmp_path)
    (top / "models" / "candidates" / "small" / "model.onnx").unlink()
    with pytest.raises(DarkroomError, match="only networks can be served"):
        package(top)


def test_parity_covers_every_row(tmp_path: Path) -> None:
    """One wrong row out of more than a batch is found, wherever it is."""
    top = write_served(tmp_path)
    store = packed.open_packed(top / "data" / "packed")
    predictor = Predictor(top / served.FOLDER)
    rows = np.arange(2 * candidate.chunk_size(predictor.card.image_size) + 1) % len(store.images)
    evaluated = predictor.probabilities(store.images[rows])
    assert packaging.prove(predictor, store, rows, evaluated).rows == len(rows)
    evaluated[-1, 0] += 2e-5
    with pytest.raises(DarkroomError, match="by up to 2e-05"):
        packaging.prove(predictor, store, rows, evaluated)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "service.json is missing: run `dvc repro`"), ("{}", "run `dvc repro` again")]
)
def test_a_served_folder_that_does_not_fit_says_what_to_do(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "service.json").write_text(content)
    with pytest.raises(DarkroomError, match=words):
        served.read(tmp_path)


def test_class_names_are_no_markup_in_the_readme(tmp_path: Path) -> None:
    folder = write_served(tmp_path) / served.FOLDER
    card = candidate.read_card(folder)
    candidate.write_card(folder, replace(card, classes=["<script>", "[x](http://a)", "a\u202eb"]))
    text = readme.readme(folder, "1")
    assert "distinguishes 3 classes: \\<script\\>, \\[x\\](http\\://a), a\\\\u202eb.\n" in text
