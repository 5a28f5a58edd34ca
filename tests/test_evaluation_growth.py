"""Learning curves and forecasts on predictions whose quality is a known function of the number of images."""

import numpy as np
import pytest

from darkroom import forecasts
from darkroom.evaluation.figures import growth
from darkroom.evaluation.growth import curves
from darkroom.forecasts import Curve, Point
from darkroom.training import held_out, subsets


def simulated(labels, error, classes, spread=0.0):
    """Return a predictor that is wrong about a class with the probability `error(images)`; the same images first.

    spread: of the probability, at random for each subset.
    """
    generator = np.random.default_rng(1)
    hardness = np.empty(len(labels))
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        hardness[own] = generator.permutation((np.arange(len(own)) + 0.5) / len(own))

    def predict(chosen, changed):
        counts = np.bincount(labels[chosen], minlength=classes)
        rates = error(np.maximum(counts, 1)) + spread * generator.normal(size=classes)
        return np.where(hardness < rates[labels], (labels + 1) % classes, labels)

    return predict


def measured(error, sizes, spread=0.0, groups=None):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.arange(len(labels)) if groups is None else groups
    names = [f"class {label}" for label in range(len(sizes))]
    predict = simulated(labels, error, len(sizes), spread)
    return {each.name: each for each in curves.measure(predict, labels, groups, names, 0, np.array(sizes))}


def test_a_power_law_is_continued():
    sizes = [400, 400, 400]
    error = lambda counts: 0.05 + 20 / counts  # noqa: E731
    found = measured(error, sizes)["class 1"]
    labels = np.repeat(np.arange(3), sizes)
    truth = [
        curves.score(simulated(labels, lambda _, k=k: error(np.array([400, k, 400])), 3)(labels >= 0, None), labels, 3)
        for k in (400, 800)
    ]
    gain = truth[1].macro_f1 - truth[0].macro_f1
    each = forecasts.forecast(found, 400)
    assert each.gain == pytest.approx(gain, rel=0.15)
    assert each.low < gain < each.high
    assert each.is_measurable
    assert [point.images for point in found.points] == [100, 160, 240, 320, 400]
    assert found.points[0].recall == pytest.approx(0.75, abs=0.01)
    assert forecasts.forecast(found, 40).gain < gain / 4


def test_a_flat_curve_has_no_measurable_gain():
    found = measured(lambda counts: np.full(len(counts), 0.2), [100, 100])
    for curve in found.values():
        each = forecasts.forecast(curve, 100)
        assert each.gain == pytest.approx(0, abs=1e-9)
        assert not each.is_measurable


def test_noise_widens_the_interval():
    error = lambda counts: 0.05 + 5 / counts  # noqa: E731
    clear, noisy = (measured(error, [200, 200], spread)["class 0"] for spread in (0.0, 0.05))
    widths = [each.high - each.low for each in (forecasts.forecast(clear, 100), forecasts.forecast(noisy, 100))]
    assert widths[1] > 2 * widths[0]
    assert noisy.choice > 0.02 > clear.choice


def test_more_images_that_harm_are_no_gain():
    found = measured(lambda counts: 0.3 - 5 / counts, [100, 100])["class 0"]
    assert found.slope < 0
    assert forecasts.forecast(found, 50).gain == 0


@pytest.mark.parametrize("sizes", [[100, 3], [100, 60, 3], [3, 3]])
def test_a_class_with_three_images_has_a_wide_interval(sizes):
    found = measured(lambda counts: np.minimum(0.9, 1 / counts), sizes)[f"class {len(sizes) - 1}"]
    assert [point.images for point in found.points] == [1, 1, 2, 2, 3]
    each = forecasts.forecast(found, 3)
    assert each.low <= each.gain <= each.high
    assert np.isfinite([each.low, each.high]).all()


def test_a_class_with_one_image_has_no_curve():
    found = measured(lambda counts: 1 / counts, [50, 50, 1])
    assert found["class 2"] == Curve("class 2", 1)
    assert len(found["class 0"].points) == 5
    assert len(found[None].points) == 5


def test_one_class_has_no_curve():
    assert measured(lambda counts: 1 / counts, [50]) == {}


def test_only_the_classes_with_the_lowest_f1_are_measured(monkeypatch):
    monkeypatch.setattr(curves, "CLASSES", 1)
    assert list(measured(lambda counts: 1 / counts, [50, 9, 50])) == [None, "class 1"]


def test_groups_stay_together():
    labels = np.repeat([0, 1], 40)
    groups = np.arange(80) // 4
    seen = []

    def predict(chosen, changed):
        seen.append((chosen.copy(), changed))
        return labels

    curves.measure(predict, labels, groups, ["a", "b"], 0, np.array([40, 40]))
    assert len(seen) == 1 + 3 * 4 * curves.REPEATS
    for chosen, changed in seen:
        assert all(len(set(chosen[groups == group])) == 1 for group in range(20))
        for label in (0, 1) if changed is not None else ():
            assert chosen[labels == label].all() or label in changed
    halves = [chosen for chosen, changed in seen if changed == (0,) and chosen[:40].sum() == 24]
    assert len({chosen.tobytes() for chosen in halves}) > 1
    assert len(halves) == curves.REPEATS


def test_of_a_sample_the_curve_is_continued_to_the_present_number():
    labels = np.repeat([0, 1], 100)
    predict = simulated(labels, lambda counts: 0.05 + 5 / counts, 2)
    known, sample = (
        curves.measure(predict, labels, np.arange(200), ["a", "b"], 0, np.array([size, size]))[1] for size in (100, 400)
    )
    assert sample.images == 400
    assert sample.points[-1].images == 400
    assert sample.slope == pytest.approx(known.slope / 4)
    assert sample.choice == pytest.approx(known.choice / 2)


def test_the_influence_is_the_derivative_of_macro_f1():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60)
    predicted = np.where(generator.random(60) < 0.3, generator.integers(0, 4, 60), labels)
    found = curves.score(predicted, labels, 4)
    for row in (0, 7, 31):
        many = np.r_[np.tile(np.arange(60), 1000), row]
        change = curves.score(predicted[many], labels[many], 4).macro_f1 - found.macro_f1
        assert change * 1000 == pytest.approx(found.influence[row], rel=0.01, abs=1e-5)


def test_the_figure_shows_all_classes_first_and_at_most_twelve_curves():
    points = (Point(5, 0.5, 0.5, 0.5), Point(10, 0.6, 0.6, 0.6))
    many = [Curve(None, 300, points, 0.01, 0.01, 0.01), *(Curve(f"c{i}", 10, points, i / 100) for i in range(20))]
    drawing = growth.curves(many, 10)
    assert [axes.get_title(loc="left") for axes in drawing.axes][:2] == ["all classes", "c19"]
    assert len(drawing.axes) == growth.SHOWN
    assert growth.curves([Curve("c", 1)], 10) is None


def test_probes_learn_from_the_chosen_images_only():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    features = (0.5 * generator.normal(size=(3, 40))[labels] + generator.normal(size=(100, 40))).astype(np.float16)
    probes = subsets.Probes(features, labels, held_out.divide(labels, np.arange(100), 0), 3)
    everything = np.ones(100, dtype=bool)
    assert (probes.predict(everything, ()) == labels).mean() > 0.8
    assert np.array_equal(probes.predict(everything, None), probes.predict(everything, ()))
    without = probes.predict(labels != 2, (2,))
    assert set(without) == {0, 1}
    few = everything & (np.arange(100) % 3 == 0)
    some = few | (labels != 1)
    assert np.array_equal(probes.predict(some, (1,)), probes.predict(some, None))
    assert (probes.predict(few, None) == labels).mean() < (probes.predict(everything, ()) == labels).mean()


@pytest.mark.parametrize("values", [30, 300])
def test_components_keep_the_distances(values):
    features = np.random.default_rng(0).normal(size=(100, values)).astype(np.float16)
    scaled = held_out.scaled(features).take(np.arange(100))
    found = subsets.components(features)
    assert found.shape[1] == min(100, values)
    assert np.allclose(found @ found.T, scaled @ scaled.T, atol=1e-3)
    assert subsets.components(features, 5).shape == (100, 5)


def test_a_large_set_is_sampled_by_groups(monkeypatch):
    assert np.array_equal(subsets.choose(np.arange(50), 2, 0), np.arange(50))
    monkeypatch.setattr(subsets, "MOST", 20)
    groups = np.arange(60) // 3
    rows = subsets.choose(groups, 2, 0)
    assert len(rows) == 18
    assert (np.bincount(groups[rows], minlength=20) % 3 == 0).all()
    assert not np.array_equal(rows, subsets.choose(groups, 2, 1))
