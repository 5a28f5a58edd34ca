import numpy as np
import pytest

from darkroom.evaluation.comparison import compare


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
