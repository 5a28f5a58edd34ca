import io
import warnings

import matplotlib
import numpy as np
import pytest
from PIL import Image

from darkroom import plotting


def draw(label: str):
    with plotting.figure(3, 2) as drawing:
        axes = drawing.subplots()
        axes.plot([1, 2], [3, 4], label=label)
        axes.set_title(label)
        drawing.legend()
    return drawing


def squares(count: int, size: int = 8) -> np.ndarray:
    return np.full((count, size, size, 3), 90, dtype=np.uint8)


def test_figures_drawn_alike_are_equal_bytes_and_name_no_software(tmp_path):
    for name in ("a", "b"):
        plotting.save(draw("curve"), tmp_path / "made" / f"{name}.png")
    first, second = sorted((tmp_path / "made").iterdir())
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (3 * plotting.DPI, 2 * plotting.DPI)
        assert "Software" not in image.info


@pytest.mark.parametrize("label", ["猫", "🐈 हिन्दी", "\U0001f9ea\u0378", "$5 note$", "a_b^c\\d", "كلب"])
def test_class_names_in_any_script_are_drawn_without_a_warning(tmp_path, label):
    plotting.save(draw(label), tmp_path / "label.png")
    with Image.open(tmp_path / "label.png") as image:
        assert image.convert("L").getextrema()[0] < 128


def test_other_warnings_are_not_hidden(tmp_path):
    drawing = draw("x")
    drawing.axes[0].draw = lambda renderer: warnings.warn("something else", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="something else"):
        plotting.save(drawing, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_the_style_holds_inside_and_nowhere_else():
    with plotting.figure(3, 2):
        assert matplotlib.rcParams["text.parse_math"] is False
    assert matplotlib.rcParams["text.parse_math"] is True


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (20, 1), (21, 2), (100, 5)])
def test_a_grid_of_pictures_folds_before_it_grows_tall(rows, blocks):
    drawing = plotting.image_grid([(f"class {row}", squares(3)) for row in range(rows)])
    assert len(drawing.axes) == blocks
    titles = [tick.get_text() for axes in drawing.axes for tick in axes.get_yticklabels()]
    assert titles == [f"class {row}" for row in range(rows)]
    width, height = drawing.get_size_inches()
    assert width <= 12.01
    assert height <= 20 * 0.62 + 0.2


def test_a_grid_shows_every_picture_where_it_belongs():
    drawing = plotting.image_grid([("two", squares(2)), ("none", squares(0)), ("one", squares(1))])
    canvas = drawing.axes[0].images[0].get_array()
    dark = [[bool((canvas[row * 9 + 4, column * 9 + 4] < 255).all()) for column in range(2)] for row in range(3)]
    assert dark == [[True, True], [False, False], [True, False]]
    drawing.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("name", "length", "short"),
    [("cat", 3, "cat"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 4, "ab…h"), ("x" * 24, 24, "x" * 24)],
)
def test_long_names_lose_their_middle(name, length, short):
    assert plotting.shorten(name, length) == short
    assert len(short) <= length


def test_chinese_counts_twice_when_a_name_is_shortened(monkeypatch):
    monkeypatch.setattr(plotting, "legible", lambda name: name)
    assert plotting.shorten("一种名字特别长的小动物", 11) == "一种名…动物"


def test_names_without_a_font_are_written_in_latin_letters():
    assert plotting.legible("cat") == "cat"
    assert plotting.legible("γάτα") == "γάτα"  # DejaVu has Greek
    assert plotting.legible("\U00012000\U00012001") != "\U00012000\U00012001"  # cuneiform
    assert plotting.legible("\U00012000\U00012001").isascii()


def test_a_font_that_is_newer_than_matplotlibs_list_is_found(monkeypatch):
    known = [font for font in plotting.font_manager.fontManager.ttflist if font.name != "DejaVu Sans"]
    (path,) = {
        font.fname
        for font in plotting.font_manager.fontManager.ttflist
        if font.name == "DejaVu Sans" and font.fname.endswith("DejaVuSans.ttf") and "mpl-data" in font.fname
    }
    monkeypatch.setattr(plotting.font_manager.fontManager, "ttflist", known)
    monkeypatch.setattr(plotting.font_manager, "findSystemFonts", lambda: [path])
    plotting._families.cache_clear()
    try:
        assert plotting._families()[0] == "DejaVu Sans"
    finally:
        plotting._families.cache_clear()
