import dataclasses

import numpy as np
import pytest

from darkroom import candidate
from darkroom.candidate import Predictions
from darkroom.evaluation import abstention
from darkroom.evaluation import evaluate as evaluation
from darkroom.evaluation.evaluate import check_same_data
from darkroom.evaluation.scores.calibration import fit_temperature
from darkroom.evaluation.settings import SelectSettings
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import open_images, read_split
from darkroom.thresholds import Outputs
from tests import factories


def evaluate(folder, split):
    return evaluation.evaluate(folder, split, evaluation.resample(split, 0, draws=50))


@pytest.fixture
def store(tmp_path):
    factories.write_project(tmp_path, networks=("small",))
    return tmp_path / "models" / "candidates" / "small", read_split(tmp_path / "data" / "split.csv")


def test_temperature_comes_from_validation_and_test_labels_move_nothing(store):
    folder, split = store
    evaluated = evaluate(folder, split)
    flipped = split.labels.copy()
    flipped[split.rows("test")] = (flipped[split.rows("test")] + 1) % 3
    other = evaluate(folder, dataclasses.replace(split, labels=flipped))
    assert other.temperature == evaluated.temperature
    assert other.validation == evaluated.validation
    assert other.test.accuracy < evaluated.test.accuracy
    np.testing.assert_allclose(evaluated.probabilities.sum(axis=1), 1)
    logits = candidate.read_predictions(folder).test
    np.testing.assert_allclose(evaluated.probabilities, candidate.softmax(logits, evaluated.temperature))


def test_out_of_fold_logits_of_training_images_fit_temperature_and_thresholds_but_no_score(store):
    folder, split = store
    before, found = evaluate(folder, split), candidate.read_predictions(folder)
    labels = {name: split.labels[split.rows(name)] for name in ("train", "validation")}
    training = np.random.default_rng(0).normal(0, 9, (len(labels["train"]), 3)).astype(np.float32)
    candidate.write_predictions(folder, Predictions(found.validation, found.test, training, found.validation * 2))
    after = evaluate(folder, split)
    both = np.concatenate([training, found.validation]), np.concatenate([labels["train"], labels["validation"]])
    assert after.temperature == fit_temperature(*both) > 2 * before.temperature
    assert after.validation.accuracy == before.validation.accuracy

    images = open_images(folder.parents[2] / "data" / "packed")
    settings = SelectSettings(coverage=0.8, least_coverage=0.7)
    thresholds = abstention.fit_each([after], folder.parent, images, split, settings, 0)["small"]
    _, confident = thresholds.verdicts(Outputs(both[0]), after.temperature)
    assert 0.68 < confident.mean() < 0.82

    candidate.write_predictions(folder, dataclasses.replace(found, training=training[1:]))
    with pytest.raises(DarkroomError, match=r"small: train predictions of shape"):
        evaluate(folder, split)


def test_a_missing_candidate_says_what_to_run(tmp_path, store):
    with pytest.raises(DarkroomError, match=r"nobody contains no candidate: run `dvc repro` first"):
        evaluate(tmp_path / "nobody", store[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[:-1], r"small: test predictions of shape \(23, 3\).* 24 images of 3: run `dvc repro`"),
        (lambda values: values[:, :2], r"small: test predictions of shape \(24, 2\)"),
        (
            lambda values: values * np.float32(np.nan),
            r"small: test predictions are NaN or infinite: lower its learning_rate",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused(store, change, message):
    folder, split = store
    predictions = candidate.read_predictions(folder)
    candidate.write_predictions(folder, Predictions(predictions.validation, change(predictions.test)))
    with pytest.raises(DarkroomError, match=message):
        evaluate(folder, split)


def test_other_classes_are_refused(store):
    folder, split = store
    with pytest.raises(DarkroomError, match="do not match the split"):
        evaluate(folder, dataclasses.replace(split, classes=["cat", "cow", "frog"]))


def test_candidates_of_different_data_are_not_compared(store):
    card = candidate.read_card(store[0])
    check_same_data([card])
    check_same_data([card, card])
    with pytest.raises(DarkroomError, match=r"late and small were trained on different data \(ffff.*run `dvc repro`"):
        check_same_data([card, dataclasses.replace(card, name="late", data="f" * 64)])
