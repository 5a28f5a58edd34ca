import numpy as np
from PIL import Image

from darkroom.data import pictures
from darkroom.packed import Record, open_packed, read_split
from tests import factories


def test_every_figure_is_drawn_and_the_same_each_time(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    split = read_split(factories.write_split(tmp_path / "split.csv", folder))
    for name in "ab":
        (tmp_path / name).mkdir()
        drawn = pictures.draw(open_packed(folder), split, 3, tmp_path / name)
        assert drawn == ["classes.png", "samples.png", "sizes.png"]  # no copies, so no picture of them
    for name in drawn:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Image.open(tmp_path / "a" / name) as image:
            assert min(image.size) > 200
            assert np.asarray(image).std() > 5


def test_copies_are_found_conflicts_first():
    records = [
        Record(f"{label}/{row}.png", label, "", 8, 8, content, "0" * 16)
        for row, (label, content) in enumerate([("a", "x"), ("a", "x"), ("a", "y"), ("b", "y"), ("b", "z")])
    ]
    assert pictures.copies(records) == [[2, 3], [0, 1]]


def test_at_most_forty_classes_are_shown(tmp_path):
    classes = [f"class {number:02}" for number in range(60)]
    folder = factories.write_packed(tmp_path / "packed", classes=classes, per_class=5)
    split = read_split(factories.write_split(tmp_path / "split.csv", folder))
    axes = pictures.classes(split).axes[0]
    assert len(axes.get_yticklabels()) == 40
