import json

import pytest

from darkroom.data.settings import SplitSettings
from darkroom.data.split import holdout
from darkroom.data.split.splitting import Division
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import LEFT_OUT, Record

TERMS = holdout.Terms(dataset="mine", seed=0, test=0.2, limit_per_class=None)


def records(labels: str, split: str = "") -> list[Record]:
    """Return a record a letter, which is its class; its content is its place."""
    return [Record(f"{n}.png", label, split, 8, 8, f"{n}", "0" * 16) for n, label in enumerate(labels)]


def write(path, held, splits, labels="aabb", split=""):
    names = {"t": "test", "n": "train", "o": LEFT_OUT}
    division = Division([names[letter] for letter in splits], [])
    holdout.write(path, TERMS, held, records(labels, split), division)
    return json.loads(path.read_text(encoding="utf-8"))["images"]


@pytest.mark.parametrize(
    ("held", "splits", "split", "images"),
    [
        ([], "tntn", "", ["0", "2"]),
        (["0", "9"], "tnnn", "", ["0"]),  # an image that is gone leaves
        (["0", "2"], "tnon", "", ["0", "2"]),  # one that has a copy under another class comes back without it
        ([], "tttt", "test", []),  # those of the source
    ],
)
def test_the_file_holds_the_test_images_that_are_there(tmp_path, held, splits, split, images):
    path = tmp_path / "test_images.json"
    assert write(path, held, splits, split=split) == images
    assert holdout.read(path, TERMS) == (frozenset(images), "")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("dataset", "other", 'dataset "mine" instead of "other"'),
        ("seed", 1, "seed 0 instead of 1"),
        ("test", 0.3, "test 0.2 instead of 0.3"),
        ("limit_per_class", 40, "limit_per_class null instead of 40"),
    ],
)
def test_drawn_from_something_else_they_are_others(tmp_path, key, value, told):
    path = tmp_path / "test_images.json"
    write(path, [], "tntn")
    held, reason = holdout.read(path, TERMS.model_copy(update={key: value}))
    assert not held
    assert reason == f"New test images are drawn, because those in {path} are for {told}."


def test_without_a_file_there_are_none(tmp_path):
    assert holdout.read(tmp_path / "test_images.json", TERMS) == (frozenset(), "")


@pytest.mark.parametrize("text", ["", "[]", "{}", "<<<<<<< HEAD\n", '{"dataset": "mine", "images": 3}'])
def test_a_file_that_was_edited_is_refused_with_the_remedy(tmp_path, text):
    path = tmp_path / "test_images.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DarkroomError, match="is not as the split stage wrote it: restore it with `git checkout"):
        holdout.read(path, TERMS)


def test_what_became_of_them_is_told():
    settings = SplitSettings()
    division = Division(["test", "train", *["train"] * 9, "test", "test"], [])
    lines = holdout.remarks(settings, ["0", "99", "98"], records("a" * 11 + "bb"), division)
    assert lines[0] == "The test images are unchanged (split.grow: train), except for 2 that no longer exist."
    assert lines[1] == "New test images were drawn for classes without any: b."
    assert "less than half of the requested 20% are test images in a (9.1%). split.grow: all draws" in lines[2]
    assert holdout.remarks(settings, [], records("aabb"), division) == []
