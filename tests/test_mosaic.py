import numpy as np
import pytest

from darkroom import timing
from darkroom.mosaic import mosaic


def test_images_lie_side_by_side_on_white():
    two, one = np.zeros((2, 3, 3, 3), np.uint8), np.full((1, 3, 3, 3), 7, np.uint8)
    whole = mosaic([two, one[:0], one], height=4, width=3, gap=1, border=2)
    assert whole.shape == (4 * 4 + 2, 3 * 4 + 2, 3)
    expected = np.full_like(whole, 255)
    expected[2:5, 2:5] = expected[2:5, 6:9] = 0
    expected[10:13, 2:5] = 7
    np.testing.assert_array_equal(whole, expected)
    assert mosaic([one], 1, 1, gap=1).shape == (4, 4, 3)


@pytest.mark.parametrize(("seconds", "calls"), [(0.001, 200), (0.1, 10), (0.03, 18)])
def test_the_median_of_enough_calls_is_measured(monkeypatch, seconds, calls):
    made, now = [], [0.0]

    def call():
        made.append(now[0])
        slow = len(made) in (1, 3)  # the first call is not timed, and one waits for another process
        now[0] += 5 if slow else seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing, "SECONDS", 5 + 0.5)
    assert timing.milliseconds(call) == pytest.approx(1000 * seconds)
    assert len(made) == 1 + calls
