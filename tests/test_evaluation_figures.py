import numpy as np
import pytest
from PIL import Image

from darkroom import plotting
from darkroom.candidate import Epoch
from darkroom.evaluation.figures import curves, scores
from darkroom.evaluation.figures.cost import accuracy_by_cost
from darkroom.evaluation.scores.calibration import Bin
from darkroom.evaluation.scores.metrics import Scores
from darkroom.evaluation.scores.ranking import RECALLS


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def size(drawing, path):
    plotting.save(drawing, path)
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("count", [2, 10, 40, 50])
def test_confusion_shows_every_count_and_stays_readable(tmp_path, count):
    matrix = np.eye(count, dtype=np.int64) * 7
    matrix[0, 1] = 1234
    drawing = scores.confusion(matrix, [f"a rather long class name {label}" for label in range(count)])
    axes = drawing.axes[0]
    assert sorted(texts(axes)) == sorted(["7"] * count + ["1234"])
    assert axes.get_xlabel() == "Predicted"
    assert axes.get_ylabel() == "Actual"
    smallest = min(text.get_fontsize() for text in [*axes.texts, *axes.get_yticklabels()])
    assert smallest * plotting.DPI / 72 >= 8, "pixels a letter"
    assert max(drawing.get_size_inches()) * plotting.DPI <= 4000
    if count <= 10:  # drawing the large ones takes seconds
        size(drawing, tmp_path / "confusion.png")


def test_confusion_of_very_many_classes_has_no_words_and_a_page_of_room():
    drawing = scores.confusion(np.eye(200, dtype=np.int64) * 7, [f"class {label}" for label in range(200)])
    assert drawing.get_size_inches().tolist() == [7, 7]
    axes = drawing.axes[0]
    assert texts(axes) == []
    assert [*axes.get_xticks(), *axes.get_yticks(), *axes.get_xticks(minor=True)] == []


def test_confusion_of_a_class_without_images_is_an_empty_row(tmp_path):
    drawing = scores.confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    image = drawing.axes[0].images[0].get_array()
    assert (image[1, :, :3] == 1).all()
    assert texts(drawing.axes[0]) == ["3", "1"]


@pytest.mark.parametrize("count", [0, 1, 12])
def test_curves_have_one_line_a_network_in_each_panel(tmp_path, count):
    epochs = [Epoch(1, 1.0, 1.5, 0.5), Epoch(2, 0.5, 1.0, 0.75)]
    histories = {f"net_{number}": epochs for number in range(count)}
    drawing = scores.learning_curves(histories, dict.fromkeys(histories, 2))
    *plots, rest = drawing.axes
    assert [len(axes.lines) for axes in plots] == [count] * 3
    assert all(line.get_markevery() == [1] for axes in plots for line in axes.lines)
    styles = {(line.get_color(), line.get_linestyle()) for line in plots[0].lines}
    assert len(styles) == count
    shown = [text.get_text() for text in rest.get_legend().get_texts()] if count else []
    assert shown == list(histories)
    size(drawing, tmp_path / "curves.png")


def test_accuracies_stand_in_order_with_the_best_and_the_bar_marked(tmp_path):
    test_scores = {
        name: Scores(accuracy, accuracy - 0.1, accuracy + 0.05, 0.5, 0.5, 0.5, 0.5, 0.1)
        for name, accuracy in (("baseline", 0.8), ("a", 0.9), ("b", 0.9), ("c", 0.7))
    }
    drawing = scores.accuracies(test_scores, "a", "baseline")
    axes = drawing.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["c", "baseline", "b", "a (selected)"]
    assert texts(axes) == ["70.0%", "80.0%", "90.0%", "90.0%"]
    size(drawing, tmp_path / "accuracy.png")


@pytest.mark.parametrize("bins", [[Bin(1, 1, 1.0)], [Bin(1, 0, 0.31), Bin(500, 480, 0.97)]])
def test_reliability_is_drawn_for_few_and_many(tmp_path, bins):
    drawing = scores.reliability([Bin(3, 1, 0.5), *bins], bins)
    assert [bar.get_height() for bar in drawing.axes[1].patches] == [each.count for each in bins]
    size(drawing, tmp_path / "reliability.png")


@pytest.mark.parametrize(
    "latencies",
    [
        {"alone": 3.0},
        {"twin": 1.64, "its twin": 1.65, "far": 0.1},
        {f"similar latency {place}": 1 + place / 10 for place in range(6)},
    ],
)
def test_labels_of_networks_with_similar_latency_do_not_overlap(latencies):
    drawing = accuracy_by_cost(latencies, dict.fromkeys(latencies, (0.9, 0.85, 0.93)), next(iter(latencies)))
    axes = drawing.axes[0]
    assert sorted(texts(axes)) == sorted([f"{next(iter(latencies))} (selected)", *list(latencies)[1:]])
    boxes = [label.get_window_extent() for label in axes.texts]
    assert not any(box.count_overlaps(boxes[:place]) for place, box in enumerate(boxes))
    assert len(axes.get_xticks()) == len(set(axes.get_xticks())) >= 1


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([0.5, 1.0], ["0 (0.500)", "1 (1.000)", "mean of 2 classes (0.750)"]),
        ([0.5, *[1.0] * 8], ["0 (0.500)", "mean of 9 classes (0.944)", "8 other classes"]),
        ([1.0] * 9, ["mean of 9 classes (1.000)", "each class"]),
        ([0.99987], ["0 (0.9999)"]),
    ],
)
def test_precision_recall_names_only_classes_that_are_worse(areas, expected):
    names = [str(place) for place in range(len(areas))]
    lines = {name: np.full(len(RECALLS), area) for name, area in zip(names, areas, strict=True)}
    drawing = curves.precision_recall(lines, dict(zip(names, areas, strict=True)))
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == expected
