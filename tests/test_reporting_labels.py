"""Sentences about label errors and shortcuts: each is there only if the results support it."""

import pytest

from darkroom.reporting import label_errors, shortcuts
from tests.factories import LABELS

SHORTCUT = {
    "measure": "the camera", "label": "a*b", "auc": 0.98, "chance": 0.55, "bound": 0.75, "is_shortcut": True,
}  # fmt: skip


def text(**facts):
    return " ".join(label_errors.paragraph(LABELS | facts, "\\[1\\]"))


@pytest.mark.parametrize(
    ("facts", "expected", "absent"),
    [
        ({}, "a linear model on HOG features, fitted without the image and its copies", "could not be checked"),
        ({"features": "net_a"}, "the frozen features of net\\_a", "HOG"),
        ({"unchecked": 1}, "1 label could not be checked, because no images of other groups have it.", "have them"),
        ({"seen": {"net": ["cat", "<b>"]}}, "net was not used: it was trained with labels such as cat and \\<b\\>", ""),
        ({}, "finds 12 images whose label may be wrong; `plots/labels/issues.csv` lists these images", "the first 12"),
        ({"issues": 9000, "listed": 5000}, "lists the first 5,000 of these images", "lists these images"),
        ({}, "About 4 of these labels are expected to be wrong. For the first 3 images, the label is more", "Probably"),
        ({"expected": 0.9, "probable": 1}, "About 1 of these labels is expected to be wrong. For the first image,", ""),
        (
            {"expected": 0.2, "probable": 0},
            "Probably none of these labels is wrong. These images are mostly hard",
            "more likely wrong",
        ),
        (
            {"confused": [{"label": "a*b", "class": "dog", "expected": 57.8}]},
            "Some images labelled a\\*b resemble dog: either about 58 labels are wrong, or the features",
            "",
        ),
        ({}, "", "resemble"),
        ({"issues": 3, "listed": 3}, "For the first 3 images", "The other images"),
        ({"issues": 0}, "finds no label that may be wrong.", "To test the list"),
        ({}, "6 labels were changed", "finds no label"),
        ({}, "95.0% of the changed labels, and 90.0% of its first 6 images had a changed label", ""),
    ],
)
def test_label_errors(facts, expected, absent):
    assert expected in text(**facts)
    assert not absent or absent not in text(**facts)


EFFECT = {"train": 30, "test": 0, "images": 500, "before": 0.884, "after": 0.912, "p_value": 0.02, "verdict": "better"}


@pytest.mark.parametrize(
    ("facts", "expected", "absent"),
    [
        ({}, "changed the labels of 30 training and validation images. What did that bring?", "count as right"),
        ({}, "classifies 88.4% of the 500 test images correctly, and with the corrected labels 91.2%: 2.8 perc", "not"),
        ({}, "2.8 percentage points higher, which is statistically significant (McNemar's exact test, p", "lower"),
        ({"verdict": "worse", "after": 0.874}, "1.0 percentage point lower, which is statistically", "higher"),
        ({"verdict": "within noise", "p_value": 0.3}, "91.2%: the difference is not statistically significant", "2.8"),
        (
            {"train": 1, "test": 2},
            "of 1 training and validation image, and the labels of 2 test images. What",
            "images,",
        ),
        ({"test": 1}, "In both cases, the corrected labels of test images count as right.", "1 test images"),
    ],
)
def test_corrected_labels(facts, expected, absent):
    found = label_errors.corrected(EFFECT | facts)
    assert expected in found
    assert absent not in found


def test_shortcuts():
    weak = LABELS["shortcuts"][0]
    assert shortcuts.strong([SHORTCUT, weak]) == ["the camera"]
    found = " ".join(shortcuts.paragraph([SHORTCUT, weak]))
    strength = (
        "it separates a\\*b from the other classes with a ROC AUC of 0.980 (bound 0.750, random labels at most 0.55"
    )
    assert f"**Warning:** the camera: {strength}" in found
    assert "mean colour" not in found
    none = " ".join(shortcuts.paragraph([weak]))
    assert (
        "None of these properties separates a class better than its bound (1 compared). The closest is the mean colour"
        in none
    )
    assert "Warning" not in none
    assert shortcuts.paragraph([])[0].startswith("All files are alike")
