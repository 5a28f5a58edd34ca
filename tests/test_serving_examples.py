"""The example pictures: true labels, all classes, few enough, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest

from darkroom import images
from darkroom.serving import examples
from darkroom.serving.examples import Example


@pytest.mark.parametrize(
    ("classes", "per_class", "count", "of_each"),
    [(1, 30, 10, 10), (2, 30, 10, 5), (3, 30, 9, 3), (6, 30, 6, 1), (10, 30, 10, 1), (200, 3, 10, 1), (3, 2, 6, 2)],
)
def test_every_class_has_as_many_examples(classes: int, per_class: int, count: int, of_each: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), per_class))
    chosen = examples.choose(labels, seed=0)
    assert len(set(chosen.tolist())) == count
    assert set(np.unique(labels[chosen], return_counts=True)[1]) == {of_each}


def test_the_seed_chooses_and_no_test_picture_gives_no_example() -> None:
    labels = np.arange(100) % 10
    first, again, other = (examples.choose(labels, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert examples.choose(np.empty(0, np.int64), 0).tolist() == []


def test_examples_decode_to_the_very_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    examples.write(tmp_path, pixels, ["cat", "dog"])
    assert examples.read(tmp_path) == [Example("0.png", "cat"), Example("1.png", "dog")]
    for place, expected in enumerate(pixels):
        data = (tmp_path / "examples" / f"{place}.png").read_bytes()
        assert np.array_equal(images.decode(data, 16).pixels, expected)


def test_a_served_folder_without_examples_has_none(tmp_path: Path) -> None:
    assert examples.read(tmp_path) == []
