import numpy as np
import pytest
from scipy.stats import fisher_exact

from darkroom.evaluation.failures.mistakes import Pair, confused, mistakes
from darkroom.evaluation.failures.slices import measures, slices
from darkroom.evaluation.figures.mosaics import LETTERS, captioned, disagreements, percent
from darkroom.packed import Record

CLASSES = ["cat", "dog", "frog"]


def record(width, height):
    return Record("a.png", "cat", "", width, height, "0" * 64, "0" * 16)


def test_confused_pairs_are_counted_and_ranked():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 1, 1, 2, 0, 1, 1])
    assert confused(predicted, labels, CLASSES) == [
        Pair("cat", "dog", 2, 0.5), Pair("frog", "dog", 1, 1.0), Pair("dog", "cat", 1, 0.5),
        Pair("cat", "frog", 1, 0.25),
    ]  # fmt: skip
    assert confused(labels, labels, CLASSES) == []


def test_the_most_confident_mistakes_come_first():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.6, 0.2], [0.05, 0.95, 0]])
    found = mistakes(probabilities, np.array([0, 0, 0]), np.array([5, 7, 9]), CLASSES)
    assert [(each.row, each.label, each.predicted) for each in found] == [(9, "cat", "dog"), (7, "cat", "dog")]
    assert (found[0].label_probability, found[0].predicted_probability) == (0.05, 0.95)


def test_slices_hold_every_image_once_and_equal_ones_stay_together():
    images = np.zeros((45, 8, 8, 3), dtype=np.uint8)
    images[:] = np.arange(0, 225, 5).reshape(45, 1, 1, 1)
    images[44, ::2] = 255
    rows = np.arange(45)
    records = [record(20, 20)] * 34 + [record(90, 90)] * 11
    measured = measures(images, rows, records)
    assert measured["brightness"][:44] == pytest.approx(np.arange(0, 220, 5) / 255, abs=1e-6)
    assert measured["sharpness"].argmax() == measured["contrast"].argmax() == 44
    none = np.zeros(45, dtype=np.bool_)
    found = slices(measured, rows < 34, rows < 17, none)
    by_size = [each for each in found if each.measure == "size"]
    assert [(each.kind, each.images, each.accuracy) for each in by_size] == [("20", 34, 1.0), ("90", 11, 0.0)]
    assert [each.majority for each in by_size] == [0.5, 0]
    assert [each.images for each in found if each.measure == "brightness"] == [15, 15, 15]
    assert slices({"size": np.full(45, 8.0)}, rows < 34, rows < 17, none) == []
    own = slices({}, rows < 40, rows < 20, rows < 0, ["wet", "dry", ""] * 15)
    assert [(each.measure, each.kind, each.images) for each in own] == [("slice", "dry", 15), ("slice", "wet", 15)]
    assert [each.accuracy for each in own] == [13 / 15, 14 / 15]
    assert [each.majority for each in own] == [7 / 15, 7 / 15]
    leaking = slices({}, rows < 40, rows < 20, rows > 34)
    assert [each.majority for each in leaking] == [20 / 35, 0]
    assert [(each.kind, each.images, each.accuracy) for each in leaking] == [("no", 35, 1.0), ("yes", 10, 0.5)]


@pytest.mark.parametrize(("rows", "sizes"), [(9, []), (19, []), (20, [10, 10]), (30, [10, 10, 10])])
def test_a_measure_has_only_slices_of_at_least_ten_images(rows, sizes):
    right = np.arange(rows) > 3
    found = slices({"size": np.arange(float(rows))}, right, right, np.zeros(rows, dtype=np.bool_))
    assert [each.images for each in found] == sizes


def test_slices_are_tested_against_the_other_images_and_corrected_for_their_number():
    right = np.arange(1000) >= 100
    right[:10] = True
    kinds = ["night"] * 300 + ["day"] * 700
    night = next(each for each in slices({}, right, right & False, right & False, kinds) if each.kind == "night")
    alone = fisher_exact([[210, 90], [700, 0]]).pvalue
    assert night.accuracy == 0.7
    assert night.p_value == pytest.approx(2 * alone)  # both slices give the same table: Holm doubles the smallest
    none = np.zeros(600, dtype=np.bool_)
    even = slices({}, np.tile([True, False], 300), none, none, ["a", "a", "b", "b"] * 150)
    assert [each.p_value for each in even] == [1.0, 1.0]


def test_pictures_stand_over_both_names(tmp_path):
    images = np.zeros((10, 8, 8, 3), dtype=np.uint8)
    found = mistakes(np.array([[0.001, 0.999, 0]]), np.array([0]), np.array([9]), ["猫" * 40, "dog", "frog"])
    words = [text.get_text() for text in disagreements(images, found).axes[0].texts]
    assert words[0] == "dog >99%"
    assert (words[1][:4], words[1][-4:]) == ("not ", " <1%")
    assert len(words[1]) <= LETTERS
    assert disagreements(images, []) is None
    drawing = captioned([images[0]] * 13, [["a"]] * 13)
    assert len(drawing.axes[0].images) == 13
    assert drawing.get_size_inches()[0] == pytest.approx(7.2)


@pytest.mark.parametrize(
    ("probability", "shown"), [(1.0, "100%"), (0.996, ">99%"), (0.5, "50%"), (0.004, "<1%"), (0.0, "0%")]
)
def test_only_certainty_is_called_so(probability, shown):
    assert percent(probability) == shown
