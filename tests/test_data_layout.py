import pytest

from darkroom.data import layout
from darkroom.data.layout import Item
from darkroom.errors import DarkroomError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/1.png", "dog/2.JPG"], [("cat", ""), ("dog", "")]),
        (["set/cat/1.png", "set/dog/2.png"], [("cat", ""), ("dog", "")]),
        (["a/b/cat/1.png", "a/b/dog/2.png"], [("cat", ""), ("dog", "")]),
        (["cat/x/1.png", "dog/2.png"], [("cat", ""), ("dog", "")]),
        (["train/cat/1.png", "test/dog/2.png"], [("dog", "test"), ("cat", "train")]),
        (["s/Training/cat/1.png", "s/Valid/dog/2.png"], [("cat", "train"), ("dog", "validation")]),
        (["train/cat/1.png", "train/dog/2.png"], [("cat", ""), ("dog", "")]),
        (["train/cat/1.png", "other/dog/2.png"], [("other", ""), ("train", "")]),
        (["test/1.png", "train/cat/1.png", "train/dog/1.png"], [("cat", "train"), ("dog", "train")]),
        (["ネコ/1.png", "イヌ/2.png"], [("イヌ", ""), ("ネコ", "")]),
    ],
)
def test_classes_and_splits_are_read_from_names(names, expected):
    assert [(item.label, item.split) for item in layout.arrange(names, "set.zip")] == expected


def test_what_is_no_picture_is_ignored():
    junk = ["cat/.hidden.png", "__MACOSX/cat/1.png", "cat/Thumbs.db", "readme.txt", ".git/a/1.png", "dog/.DS_Store"]
    items = layout.arrange(["cat/1.png", "dog/2.png", *junk], "set.zip")
    assert [item.name for item in items] == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "set.zip holds no pictures"),
        (["a.txt"], "set.zip holds no pictures"),
        (["1.png", "2.png"], "set.zip holds pictures but no class folders, and a classifier needs two classes"),
        (["cat/1.png", "cat/2.png"], "set.zip holds only the class folder 'cat'"),
    ],
)
def test_a_wrong_layout_says_what_to_do(names, message):
    with pytest.raises(DarkroomError, match=message) as error:
        layout.arrange(names, "set.zip")
    assert "put the pictures of each class into a folder of its own, such as cats/1.jpg" in str(error.value)


def test_the_limit_holds_for_each_class_and_split_and_forgets_the_order():
    items = [Item(f"{label}/{n}.png", label, split) for label in "ab" for split in ("", "test") for n in range(9)]
    kept = layout.limit(items, 4)
    assert len(kept) == 16
    assert {(item.label, item.split) for item in kept} == {("a", ""), ("a", "test"), ("b", ""), ("b", "test")}
    assert set(layout.limit(items[::-1], 4)) == set(kept)
    assert set(layout.limit(items, 3)) < set(kept)
    assert layout.limit(items, None) == items


def test_a_class_without_readable_pictures_is_named():
    wanted = [Item("cat/1.png", "cat", ""), Item("dog/1.png", "dog", ""), Item("dog/2.png", "dog", "")]
    layout.refuse_unreadable_classes(wanted, ["cat", "dog"], "set.zip")
    with pytest.raises(
        DarkroomError, match=r"set.zip: no picture of class 'dog' can be read \(2 tried, the first is dog/1"
    ):
        layout.refuse_unreadable_classes(wanted, ["cat"], "set.zip")
