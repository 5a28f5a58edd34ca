import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from darkroom import plotting
from darkroom.data.explore import copies
from darkroom.packed import open_packed
from tests import factories


def cluster(number, *pictures):
    """Return the lines of a cluster; each picture is (packed row, label, exact or near, conflict)."""
    return [
        {"cluster": str(number), "name": f"cat/{row}.png", "label": label, "copy": copy, "conflict": conflict,
         "split": "train"}
        for row, label, copy, conflict in pictures
    ]  # fmt: skip


def pairs(kind, numbers):
    """Return the lines of clusters of two, all of one kind."""
    copy, conflict = ("near", "1") if kind == "conflict" else (kind, "0")
    return [
        line
        for number in numbers
        for line in cluster(number, *((2 * number + place, "cat", copy, conflict) for place in (0, 1)))
    ]


CONFLICT = cluster(
    0, *[(row, "cat", "near", "0") for row in (0, 1)], (2, "cat", "exact", "1"), (3, "cat", "near", "1"),
    (4, "dog", "exact", "1"),
)  # fmt: skip
ROWS = [*CONFLICT, *pairs("near", [3]), *pairs("exact", [5])]


@pytest.fixture
def packed(tmp_path):
    return open_packed(factories.write_packed(tmp_path / "packed", classes=["cat"], per_class=40))


def test_clusters_stand_side_by_side_marked_and_conflicts_in_another_colour(packed, tmp_path):
    figure = copies.draw(packed, pd.DataFrame(ROWS), 0)
    axes = figure.axes[0]
    for picture, row in zip(axes.images, (2, 4, 3, 6, 7, 10, 11), strict=True):
        assert np.array_equal(picture.get_array(), packed.images[row])
    colours = [plotting.ORANGE] * 3 + [plotting.GREEN] * 2 + [plotting.BLUE] * 2
    assert [to_hex(frame.get_edgecolor()).upper() for frame in axes.patches] == colours
    words = [text.get_text() for text in axes.texts]
    assert [word for word in words if "cop" in word or "classes" in word] == [
        "in two classes, 3 of 5", "near copies", "exact copies"
    ]  # fmt: skip
    assert words[1:5] == ["cat", "exact, train", "dog", "exact, train"]
    for text in axes.texts:  # nothing is cut off
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
    plotting.save(figure, tmp_path / "a.png")
    plotting.save(copies.draw(packed, pd.DataFrame(ROWS), 0), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > image.height


def test_without_copies_there_is_no_figure(packed):
    assert copies.draw(packed, pd.DataFrame(columns=list(ROWS[0])), 0) is None


def numbers(rows, seed):
    return [int(lines["cluster"].iloc[0]) for lines in copies.choose(pd.DataFrame(rows), seed)]


def test_of_many_clusters_some_of_each_kind_are_chosen_by_the_seed():
    rows = [*pairs("conflict", range(20)), *pairs("exact", range(20, 40)), *pairs("near", range(40, 60))]
    chosen = numbers(rows, 0)
    assert [number // 20 for number in chosen] == [0] * 3 + [2] * 3 + [1] * 3
    assert numbers(rows, 0) == chosen
    assert numbers(rows, 1) != chosen


@pytest.mark.parametrize(
    ("conflicts", "near", "exact", "expected"),
    [(1, 30, 0, (1, 8, 0)), (0, 0, 30, (0, 0, 9)), (2, 3, 1, (2, 3, 1)), (30, 1, 30, (4, 1, 4))],
)
def test_a_kind_takes_the_room_that_others_leave(conflicts, near, exact, expected):
    counts = {"conflict": conflicts, "near": near, "exact": exact}
    rows = [
        line
        for place, (kind, count) in enumerate(counts.items())
        for line in pairs(kind, range(100 * place, 100 * place + count))
    ]
    found = [number // 100 for number in numbers(rows, 0)]
    assert tuple(map(found.count, range(3))) == expected
