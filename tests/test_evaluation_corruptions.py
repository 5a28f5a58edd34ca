import numpy as np
import pytest

from darkroom.evaluation.checks.corruptions import ALL, STRENGTHS


def photographs(side=24):
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(6 * x + 3 * y), np.cos(9 * y), np.sin(7 * x * y)], axis=-1)
    return np.clip(127 + 90 * np.stack([waves, waves[::-1], -waves]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ALL)
def test_each_is_worse_with_strength_and_the_same_each_time(name):
    images = photographs()
    before = images.copy()
    distances = []
    for strength in range(1, STRENGTHS + 1):
        worse = ALL[name](images, strength, np.random.default_rng(0))
        assert worse.shape == images.shape
        assert worse.dtype == np.uint8
        assert (ALL[name](images, strength, np.random.default_rng(0)) == worse).all()
        distances.append(np.abs(worse.astype(float) - images).mean())
    assert 0 < distances[0] < distances[1] < distances[2] < 100
    assert (images == before).all()


@pytest.mark.parametrize("name", ALL)
def test_one_image_or_a_tiny_one_will_do(name):
    assert ALL[name](photographs(8)[:1], STRENGTHS, np.random.default_rng(0)).shape == (1, 8, 8, 3)
