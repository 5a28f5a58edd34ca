from pathlib import Path

import numpy as np
import pytest

from darkroom import neighbors

RANDOM = np.random.default_rng(0)


def features(count: int, values: int) -> np.ndarray:
    """Return features around three centres, as far from zero as those after a ReLU."""
    centres = np.random.default_rng(7).gamma(0.5, 1, (3, values))
    return (centres[np.arange(count) % 3] + RANDOM.gamma(0.5, 0.3, (count, values))).astype(np.float32)


def build(points: np.ndarray) -> neighbors.Index:
    places = np.arange(len(points))
    return neighbors.build(neighbors.reduce(points), places % 3, places)


@pytest.mark.parametrize("values", [20, 500, 5000])
def test_the_nearest_image_to_a_training_image_is_itself(values: int) -> None:
    points = features(300, values)
    index = build(points)
    places, similarities = index.nearest(index.embed(points), 4)
    assert places[:, 0].tolist() == list(range(300))
    assert (places % 3 == (np.arange(300) % 3)[:, np.newaxis]).mean() > 0.99
    assert similarities.shape == (300, 4)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert similarities.max() <= 1


@pytest.mark.parametrize(("values", "tolerance"), [(20, 0.002), (500, 0.03), (5000, 0.05)])
def test_similarities_are_cosines(values: int, tolerance: float) -> None:
    points = features(200, values)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    index = build(points)
    np.testing.assert_allclose(index.similarities(index.embed(points)), unit @ unit.T, atol=tolerance)


def test_the_score_is_the_similarity_to_the_fifth_nearest_and_an_image_is_not_compared_with_itself() -> None:
    points = features(400, 30)
    index = build(points)
    embedded = index.embed(points)
    ordered = -np.sort(-index.similarities(embedded), axis=1)
    np.testing.assert_allclose(index.score(embedded), ordered[:, neighbors.K - 1])
    places = np.arange(400)
    places[7] = -1
    alone = index.score(embedded, places)
    assert alone[7] == pytest.approx(ordered[7, neighbors.K - 1])
    np.testing.assert_allclose(np.delete(alone, 7), np.delete(ordered, 7, axis=0)[:, neighbors.K], atol=1e-6)
    few = build(points[:3])
    np.testing.assert_allclose(few.score(few.embed(points)), few.similarities(few.embed(points)).min(axis=1))
    assert index.score(index.embed(-points[:5])).max() < 0


def test_an_index_of_ten_thousand_images_takes_less_than_5_mb_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    places = np.arange(neighbors.MOST)
    basis = RANDOM.normal(0, 0.02, (neighbors.SKETCH, neighbors.VALUES)).astype(np.float16)
    vectors = RANDOM.normal(0, 0.1, (neighbors.MOST, neighbors.VALUES)).astype(np.float16)
    index = neighbors.Index(basis, vectors, places % 10, places, [f"animals/{place:05}.jpg" for place in places])
    sizes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        neighbors.write(tmp_path / name, index)
        sizes.append((tmp_path / name / neighbors.NAME).read_bytes())
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) < 5_000_000
    read = neighbors.read(tmp_path / "one")
    assert read is not None
    assert read.names == index.names
    for array in ("basis", "vectors", "labels", "rows"):
        assert (getattr(read, array) == getattr(index, array)).all()
    assert neighbors.read(tmp_path) is None


def test_a_sample_has_the_same_fraction_of_each_class_and_all_classes() -> None:
    labels = np.repeat([0, 1, 2], [6000, 2997, 3])[RANDOM.permutation(9000)]
    chosen = neighbors.sample(labels, 900, seed=1)
    assert len(chosen) == 900
    assert (np.diff(chosen) > 0).all()
    assert np.abs(np.bincount(labels[chosen]) - [599, 300, 1]).max() <= 1
    assert (neighbors.sample(labels, 900, seed=1) == chosen).all()
    assert (neighbors.sample(labels, 900, seed=2) != chosen).any()
    assert neighbors.sample(labels, 9000).tolist() == list(range(9000))
