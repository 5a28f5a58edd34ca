from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkroom.data.explore import figures
from darkroom.packed import Packed, Record, Split, open_packed, read_split
from tests import factories

COPIES = [
    {"cluster": "0", "name": name, "label": "cat", "copy": "near", "conflict": "0", "split": "train"}
    for name in ("cat/0.png", "cat/3.png")
]
FIGURES = ["brightness.png", "classes.png", "samples.png"]


@pytest.mark.parametrize(
    ("rows", "width", "expected"),
    [([], None, FIGURES), (COPIES, 900, sorted([*FIGURES, "duplicates.png", "sizes.png"]))],
    ids=["no copies and one size, so no picture of them", "copies and sizes"],
)
def test_every_figure_is_drawn_and_the_same_each_time(tmp_path, rows, width, expected):
    folder = factories.write_packed(tmp_path / "packed")
    store = open_packed(folder)
    if width:
        store = replace(store, records=[replace(store.records[0], width=width), *store.records[1:]])
    split = read_split(factories.write_split(tmp_path / "split.csv", folder))
    for name in "ab":
        (tmp_path / name).mkdir()
        drawn = figures.draw(store, split, pd.DataFrame(rows, columns=list(COPIES[0])), 3, tmp_path / name)
        assert drawn == expected
    for name in drawn:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Image.open(tmp_path / "a" / name) as image:
            assert min(image.size) > 200
            assert np.asarray(image).std() > 5


def test_at_most_forty_classes_are_shown(tmp_path):
    classes = [f"class {number:02}" for number in range(60)]
    folder = factories.write_packed(tmp_path / "packed", classes=classes, per_class=5)
    split = read_split(factories.write_split(tmp_path / "split.csv", folder))
    for figure in (figures.classes(split), figures.brightness(open_packed(folder), split)):
        assert len(figure.axes[0].get_yticklabels()) == 40


def test_brightness_is_that_of_the_pictures(tmp_path):
    images = np.array([0] * 5 + [255] * 5, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    images[9] = (255, 0, 0)
    records = [Record(str(row), "ab"[row // 5], "", 8, 8, str(row), "0" * 16) for row in range(10)]
    split = Split(["a", "b"], np.arange(10) // 5, np.array(["train"] * 10), np.zeros(10, dtype=bool), np.arange(10))
    axes = figures.brightness(Packed(images, records, [], {}), split).axes[0]
    medians = axes.lines[0].get_xdata()
    assert np.allclose(medians, [0, 1])
    whiskers = axes.collections[0].get_segments()
    assert np.allclose(whiskers[0][:, 0], [0, 0])
    assert np.allclose(whiskers[1][:, 0], [0.2 * 1 + 0.8 * 0.299, 1])  # between the red picture and the next


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ([(300, 200), (200, 300), (100, 100)], ["1:2", "2:3", "1:1", "3:2", "2:1"]),
        ([(100, 700), (300, 200)], ["1:4", "1:2", "1:1", "2:1", "4:1"]),
        ([(10, 500), (300, 200)], ["1:10", "1:1", "10:1"]),
    ],
)
def test_shapes_are_drawn_when_they_differ(sizes, labels):
    records = [Record("x", "a", "", width, height, "x", "0" * 16) for width, height in sizes]
    axes = figures.sizes(records).axes
    assert len(axes) == 2
    assert [label.get_text() for label in axes[1].get_xticklabels()] == labels
    assert sum(bar.get_height() for bar in axes[1].patches) == len(sizes)
