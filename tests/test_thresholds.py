import dataclasses

import numpy as np
import pytest

from darkroom import candidate
from darkroom.thresholds import Outputs, Thresholds, describe, in_distribution_score, misleads
from tests import factories

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [-np.inf, 50.0, 0.0]], dtype=np.float32)
OUTPUTS = Outputs(LOGITS, np.array([0.9, 0.8, 0.3], dtype=np.float32))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_scores_are_the_largest_probability_and_the_log_of_the_sum(temperature):
    largest = in_distribution_score(OUTPUTS, temperature, "max_probability")
    np.testing.assert_allclose(largest, candidate.softmax(LOGITS, temperature).max(axis=1), rtol=1e-12)
    energy = in_distribution_score(OUTPUTS, temperature, "energy")
    np.testing.assert_allclose(energy, np.log(np.exp(LOGITS.astype(np.float64) / temperature).sum(axis=1)))
    assert largest.dtype == energy.dtype == np.float64


def test_huge_logits_stay_numbers():
    huge = Outputs(np.array([[1e6, -1e6]], dtype=np.float32))
    assert in_distribution_score(huge, 0.05, "energy") == pytest.approx(2e7)


@pytest.mark.parametrize(
    ("thresholds", "known", "confident"),
    [
        (Thresholds("max_probability", 0.5, 0.9, 0.0), [True, False, True], [False, False, True]),
        (Thresholds("energy", 1.0, 0.5, 0.0), [True, True, True], [True, False, True]),
        (Thresholds("energy", 3.0, 0.5, 0.0), [False, False, True], [False, False, True]),
        (Thresholds("neighbors", 0.5, 0.5, 0.0), [True, True, False], [True, False, False]),
        # 0.9 + 0.1 · 2.41, 0.8 + 0.1 · 1.10 and 0.3 + 0.1 · 50
        (Thresholds("neighbors_energy", 1.0, 0.5, 0.0, 0.1), [True, False, True], [True, False, True]),
    ],
)
def test_an_answer_is_confident_if_its_image_is_in_distribution_and_its_probability_high(thresholds, known, confident):
    found = thresholds.verdicts(OUTPUTS, 1.0)
    assert [each.tolist() for each in found] == [known, confident]


def test_a_score_that_needs_similarities_says_so() -> None:
    with pytest.raises(ValueError, match="the score neighbors needs the similarity to the nearest training images"):
        Thresholds("neighbors", 0.5, 0.5, 0.0).verdicts(Outputs(LOGITS), 1.0)


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({}, ""),
        ({"plain": 0.0, "digits": 0.0}, "(digits and plain colours), none gets a confident prediction."),
        ({"plain": 0.2, "noise": 0.0}, "Of images that show none of the classes, 20% of plain colours still get a"),
        (
            {"photographs": 0.53, "shuffled": 0.8, "digits": 0.02, "noise": 0.0},
            "Warning: a confident prediction does not mean that the image shows one of the classes. Of images that "
            "show none of the classes, 80% of shuffled images, 53% of photographs and 2% of digits still get a",
        ),
    ],
)
def test_confident_answers_on_out_of_distribution_images_are_reported_with_a_warning(shares, text):
    assert text in describe(shares)
    assert misleads(shares) == describe(shares).startswith("Warning")


def test_a_card_stores_thresholds_or_none(tmp_path):
    packed_folder = factories.write_packed(tmp_path / "packed")
    split = factories.write_split(tmp_path / "split.csv", packed_folder)
    folder = factories.write_candidate(tmp_path / "net", packed_folder, split)
    card = candidate.read_card(folder)
    assert card.thresholds is None
    with_thresholds = dataclasses.replace(card, thresholds=Thresholds("energy", 1.5, 0.75, 0.95))
    candidate.write_card(folder, with_thresholds)
    assert candidate.read_card(folder) == with_thresholds
