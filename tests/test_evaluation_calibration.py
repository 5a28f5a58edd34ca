import numpy as np
import pytest

from darkroom.candidate import softmax
from darkroom.evaluation.scores.calibration import BINS, calibration_error, fit_temperature, reliability


def calibrated(rows: int = 20_000, classes: int = 5):
    """Return logits and labels drawn from the very probabilities that the logits claim."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (rows, classes)).astype(np.float32)
    drawn = generator.random((rows, 1))
    return logits, (softmax(logits).cumsum(axis=1) < drawn).sum(axis=1).clip(0, classes - 1)


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_logits_that_are_too_sharp_are_cooled_and_too_dull_ones_sharpened(sharpness):
    logits, labels = calibrated()
    assert fit_temperature(logits * np.float32(sharpness), labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("rows", [2, 10, 300])
def test_where_every_row_is_right_confidence_stays_modest(rows):
    labels = np.arange(rows) % 2
    logits = np.where(np.eye(2)[labels] == 1, 3.0, -3.0).astype(np.float32)
    temperature = fit_temperature(logits, labels)
    assert 0.7 < temperature < 1
    thresholds = 1 - softmax(logits, temperature).max()
    # Where the likelihood's pull and the prior's are equal; worked by hand.
    assert rows * thresholds * 6 / temperature == pytest.approx(-4 * np.log(temperature), rel=1e-2)


def test_calibrated_logits_of_few_rows_with_few_errors_keep_a_temperature_near_one():
    random, found = np.random.default_rng(0), []
    for _ in range(60):
        logits = random.normal(0, 1, (272, 10)).astype(np.float32)
        logits[np.arange(272), random.integers(0, 10, 272)] += random.exponential(4, 272).astype(np.float32) + 6
        drawn = random.random((272, 1))
        labels = (softmax(logits).cumsum(axis=1) < drawn).sum(axis=1).clip(0, 9)
        found.append(fit_temperature(logits, labels))
    assert np.median(found) == pytest.approx(1, abs=0.05)


def test_a_probability_that_underflowed_does_no_harm():
    labels = np.arange(300) % 2
    logits = np.where(np.eye(2)[labels] == 1, 0.0, -np.inf).astype(np.float32)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=1e-3)  # the prior's


def test_calibrated_confidence_has_next_to_no_error():
    logits, labels = calibrated()
    assert calibration_error(reliability(softmax(logits), labels)) < 0.015
    assert calibration_error(reliability(softmax(logits, 0.25), labels)) > 0.1


def test_bins_hold_every_row_once():
    probabilities = np.array([[1.0, 0.0], [0.55, 0.45], [0.5, 0.5], [0.2, 0.8]])
    bins = reliability(probabilities, np.array([0, 1, 0, 1]))
    assert [(each.count, each.right) for each in bins] == [(2, 1), (1, 1), (1, 1)]
    assert sum(each.count for each in bins) == 4
    assert len(bins) <= BINS
    assert calibration_error(bins) == pytest.approx((abs(1 - 1.05) + abs(1 - 0.8) + 0) / 4)


def test_the_calibration_error_is_that_of_its_definition():
    logits, labels = calibrated(rows=500)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in range(10):  # as Guo et al. write it, bin by bin
        inside = [row for row in range(500) if low / 10 <= confidence[row] < (low + 1) / 10]
        hits, confident = sum(right[row] for row in inside), sum(confidence[row] for row in inside)
        expected += abs(hits - confident) / 500
    assert calibration_error(reliability(probabilities, labels)) == pytest.approx(expected, abs=1e-9)
