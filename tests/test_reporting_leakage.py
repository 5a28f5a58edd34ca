"""Sentences about test images with copies or scenes in other splits."""

from types import SimpleNamespace

import pytest

from darkroom.reporting import leakage

WITH_REST = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}


def facts(copies: int, scenes: int) -> SimpleNamespace:
    total = copies + scenes
    scores = {"leaks": total, **WITH_REST} if 0 < total < 100 else None
    return SimpleNamespace(
        data={"test": 100, "leaks": copies, "scene_leaks": scenes},
        best=SimpleNamespace(without_leaks=scores, card=SimpleNamespace(name="net")),
        bar=SimpleNamespace(without_leaks=scores),
    )


@pytest.mark.parametrize(
    ("copies", "scenes", "begin", "trained"),
    [
        (
            2,
            0,
            "The source contains copies of 2 test images among its training or validation images. On the other 98",
            1,
        ),
        (0, 1, "1 test image shows a scene that other images, used for training or validation, show as well. On", 0),
        (2, 3, "The source contains copies of 2 test images among its training or validation images. 3 test", 1),
        (100, 0, "The source contains copies of all test images", 1),
        (40, 60, "All test images have a copy or another image of their scene", 0),
        (0, 0, "", 0),
    ],
)
def test_copies_and_scenes_are_counted_apart(copies, scenes, begin, trained):
    found = leakage.leaks(facts(copies, scenes))
    assert found.startswith(begin)
    assert bool(found) == bool(begin)
    assert ("No model was trained on these copies" in found) == bool(trained)
