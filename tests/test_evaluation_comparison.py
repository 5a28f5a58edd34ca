import math

import numpy as np
import pytest

from darkroom.evaluation.scores.comparison import compare, compare_each, holm


@pytest.mark.parametrize(
    ("wins", "losses", "p_value", "verdict"),
    [
        (0, 0, 1.0, "within noise"),
        (5, 0, 0.0625, "within noise"),
        (6, 0, 0.03125, "better"),
        (0, 6, 0.03125, "worse"),
        (10, 10, 1.0, "within noise"),
        (15, 5, 0.0414, "better"),
    ],
)
def test_only_rows_on_which_the_models_differ_decide(wins, losses, p_value, verdict):
    agreed = 100 - wins - losses
    right = np.array([True] * agreed + [True] * wins + [False] * losses)
    other = np.array([True] * agreed + [False] * wins + [True] * losses)
    comparison = compare(right, other)
    assert comparison.difference == pytest.approx((wins - losses) / 100)
    assert comparison.p_value == pytest.approx(p_value, abs=1e-4)
    assert comparison.verdict == verdict


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # worked by hand: 3, 1, 2 and 4 times, never falling
        ([0.6, 0.6], [1.0, 1.0]),
    ],
)
def test_holms_correction_is_that_of_the_book(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted, abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(0, 3), (9, 2), (40, 17)])
def test_mcnemar_is_twice_the_binomial_tail(wins, losses):
    right, other = np.array([True] * wins + [False] * losses), np.array([False] * wins + [True] * losses)
    tail = sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses)
    assert compare(right, other).p_value == pytest.approx(min(1, 2 * tail), abs=1e-12)


def test_many_comparisons_ask_for_stronger_proof():
    best = np.ones(20, dtype=np.bool_)
    others = {"a": np.arange(20) >= 6, "b": np.arange(20) >= 1, "c": np.arange(20) >= 20}
    found = compare_each(best, others)
    assert compare(others["a"], best).verdict == "worse"
    assert (found["a"].p_value, found["a"].verdict) == (0.0625, "within noise")  # 0.03125, twice
    assert found["c"].verdict == "worse"
    assert found["c"].turned().verdict == "better"
    assert (found["c"].difference, found["c"].turned().difference) == (-1.0, 1.0)
