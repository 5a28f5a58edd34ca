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
        "\n\nAll originals have 8 × 8 pixels. All images were rotated according to their EXIF orientation, converted "
        "to sRGB, composited on white where transparent, cropped to the central square and resized with an antialiased "
        "bicubic filter; animations are represented by their first frame."
        "\n\nAll files could be read, and no duplicates were found.\n"
    )


@pytest.mark.parametrize(
    ("facts", "broken", "expected"),
    [
        (
            {"left_out": 3},
            0,
            "- 3 images are excluded: they have a copy in another class, or duplicate a test image.\n",
        ),
        ({"left_out": 1}, 0, "- 1 image is excluded: it has a copy in another class, or duplicates a test image.\n"),
        (
            {"left_out": 3, "groups": 5},
            0,
            "duplicate a test image, or were added later and belong to the group of a test image.\n",
        ),
        (
            {"copies": 1},
            0,
            "- 1 image is an exact duplicate of another image; duplicates are always in the same split.\n",
        ),
        (
            {"near_copies": 2},
            0,
            "- 2 images are near duplicates of another image (re-encoded, resized or slightly changed); ",
        ),
        ({"groups": 1}, 0, "- 1 group of related images; each group is in a single split.\n"),
        ({"leaks": 1}, 0, "- 1 test image has a copy among the training images of the source. "),
        ({"conflicts": 2}, 0, "- 2 images have a copy in another class. "),
        ({}, 1, "- 1 file could not be read and is excluded:\n\n  - a/0\\_x.png: the file is empty\n"),
        ({}, 11, "- 11 files could not be read and are excluded; the first ten are:\n\n  - a/0"),
    ],
)
def test_what_was_set_aside_is_listed(facts, broken, expected):
    text = card.describe(packed([(8, 8)] * 4, broken=broken), METRICS | facts)
    assert expected in text
    assert "All files could be read" not in text
    assert text.count("the file is empty") == min(broken, 10)


def test_images_in_no_class_folder_are_not_called_unreadable():
    found = packed([(8, 8)] * 4)
    loose = [Broken(f"predict/{row}.png", "", "not in a class folder") for row in range(3)]
    text = card.describe(Packed(found.images, found.records, loose, {}), METRICS)
    assert "- 3 images are not in a class folder, and therefore excluded." in text
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
