import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from darkroom.evaluation.scores.ranking import RECALLS, rank


@pytest.mark.parametrize("digits", [1, 12], ids=["many ties", "no ties"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_areas_are_those_of_scikit_learn_with_each_row_and_without(digits, share):
    random = np.random.default_rng(0)
    positive = np.arange(60) < share * 60
    scores = (random.random(60) + 0.3 * positive).round(digits)
    found = rank(scores, positive)
    assert found.roc_auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    for row in range(60):
        rest = np.arange(60) != row
        assert found.roc_auc_without[row] == pytest.approx(roc_auc_score(positive[rest], scores[rest]), abs=1e-12)
        expected = average_precision_score(positive[rest], scores[rest])
        assert found.average_precision_without[row] == pytest.approx(expected, abs=1e-12)


def test_one_positive_row_is_enough_and_none_is_not():
    scores = np.array([0.9, 0.5, 0.1])
    found = rank(scores, np.array([False, True, False]))
    assert (found.roc_auc, found.average_precision) == (0.5, 0.5)
    assert found.roc_auc_without.tolist() == [1.0, 0.5, 0.0]
    assert found.average_precision_without.tolist() == [1.0, 0.5, 0.5]
    assert rank(scores, np.zeros(3, dtype=np.bool_)) is None
    assert rank(scores, np.ones(3, dtype=np.bool_)) is None


def test_the_curve_is_the_highest_precision_from_each_recall_on():
    found = rank(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]))
    assert found.precision[RECALLS <= 0.5].tolist() == [1.0] * 26
    assert found.precision[RECALLS > 0.5] == pytest.approx(2 / 3)
