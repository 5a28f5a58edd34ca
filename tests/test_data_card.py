import numpy as np
import pytest

from darkroom.data.explore import card
from darkroom.packed import Broken, Packed, Record

METRICS = {
    "dataset": "Cats & dogs", "source": "a *shelter*", "licence": "CC0", "images": 4, "image_size": 32, "classes": 2,
    "left_out": 0, "copies": 0, "near_copies": 0, "conflicts": 0, "groups": 0, "leaks": 0,
}  # fmt: skip


def packed(sizes, labels="aabb", broken=0):
    records = [
        Record(f"{row}.png", label, "", *size, str(row), "0" * 16)
        for row, (label, size) in enumerate(zip(labels, sizes, strict=True))
    ]
    bad = [Broken(f"a/{row}_x.png", "a", "the file is empty") for row in range(broken)]
    return Packed(np.zeros((len(records), 32, 32, 3), dtype=np.uint8), records, bad, {})


def test_a_clean_set():
    assert card.describe(packed([(8, 8)] * 4), METRICS) == (
        r"The data set is **Cats \& dogs**: 4 images of 2 classes, resized to 32 × 32 pixels. Each class has 2 images. "
        r"Source: a \*shelter\*. Licence: CC0."
        "\n\nAll originals have 8 × 8 pixels. Each was rotated according to its EXIF orientation, converted to sRGB, "
        "composited on white where it is transparent, cropped to its central square and resized with an antialiased "
        "bicubic filter; animations are represented by their first frame."
        "\n\nAll files could be read, and no duplicates were found.\n"
    )


@pytest.mark.parametrize(
    ("facts", "broken", "expected"),
    [
        (
            {"left_out": 3},
            0,
            "- 3 images are in no split: they conflict with another one, or duplicate a test image.\n",
        ),
        (
            {"left_out": 3, "groups": 5},
            0,
            "duplicate a test image, or are of one group with a test image and were added later.\n",
        ),
        (
            {"copies": 1},
            0,
            "- 1 image is an exact duplicate of another one; duplicates never fall into different splits.\n",
        ),
        (
            {"near_copies": 2},
            0,
            "- 2 images are near duplicates of another one (re-encoded, resized or slightly changed); ",
        ),
        ({"groups": 1}, 0, "- 1 group of images that belong together; no group is divided between splits.\n"),
        ({"leaks": 1}, 0, "- 1 test image has a copy among the images that the source gives for training. "),
        ({"conflicts": 2}, 0, "- 2 images have a copy under another class name; "),
        ({}, 1, "- 1 file could not be read and is set aside:\n\n  - a/0\\_x.png: the file is empty\n"),
        ({}, 11, "- 11 files could not be read and are set aside, the first ten being:\n\n  - a/0"),
    ],
)
def test_what_was_set_aside_is_listed(facts, broken, expected):
    text = card.describe(packed([(8, 8)] * 4, broken=broken), METRICS | facts)
    assert expected in text
    assert "All files could be read" not in text
    assert text.count("the file is empty") == min(broken, 10)


def test_images_in_no_class_folder_are_not_called_unreadable():
    found = packed([(8, 8)] * 4)
    loose = [Broken(f"predict/{row}.png", "", "in no class folder") for row in range(3)]
    text = card.describe(Packed(found.images, found.records, loose, {}), METRICS)
    assert "- 3 images lie in no class folder and in no split." in text
    assert "could not be read" not in text


def test_uneven_classes_and_sizes_are_told():
    text = card.describe(packed([(8, 9), (20, 10), (30, 40), (12, 11)], "aaab"), METRICS)
    assert "The largest class, a, has 3 images, the smallest, b, 1: a ratio of 3.0 to 1." in text
    assert "The shorter sides of the originals have 8 to 30 pixels, with a median of 10." in text


def test_file_names_are_shown_and_do_nothing():
    broken = [Broken("a/\x1b[2J\u202e.png", "a", "the file is empty"), Broken(f"a/{'x' * 5000}.png", "a", "empty")]
    found = packed([(8, 8)] * 4)
    text = card.describe(Packed(found.images, found.records, broken, {}), METRICS)
    assert "  - a/\\\\x1b\\[2J\\\\u202e.png: the file is empty\n" in text
    assert f"  - a/{'x' * 98}…{'x' * 95}.png: empty\n" in text
