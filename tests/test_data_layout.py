import pytest

from darkroom.data import layout
from darkroom.data.layout import Item
from darkroom.errors import DarkroomError
from darkroom.packed import Broken


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
        (["cover.jpg", "set/a.jpg", "set/cat/1.png", "set/dog/2.png"], [("cat", ""), ("dog", "")]),
        (["cover.jpg", "train/cat/1.png", "test/dog/2.png"], [("dog", "test"), ("cat", "train")]),
        (["cafe\u0301/1.png", "caf\u00e9/2.png", "tea/1.png"], [("caf\u00e9", ""), ("caf\u00e9", ""), ("tea", "")]),
        (["set/", "set/cat/", "set/cat/1.png", "set/dog/2.png"], [("cat", ""), ("dog", "")]),
        (["test/1.png", "train/cat/1.png", "train/dog/1.png"], [("cat", "train"), ("dog", "train")]),
        (["ネコ/1.png", "イヌ/2.png"], [("イヌ", ""), ("ネコ", "")]),
    ],
)
def test_classes_and_splits_are_read_from_names(names, expected):
    assert [(item.label, item.split) for item in layout.arrange(names, "set.zip").items] == expected


def test_what_is_no_picture_is_ignored():
    junk = ["cat/.hidden.png", "__MACOSX/cat/1.png", "cat/Thumbs.db", "readme.txt", ".git/a/1.png", "dog/.DS_Store"]
    arrangement = layout.arrange(["cat/1.png", "dog/2.png", *junk], "set.zip")
    assert [item.name for item in arrangement.items] == ["cat/1.png", "dog/2.png"]
    assert arrangement.set_aside == []


def test_pictures_that_cannot_be_used_are_told():
    names = ["cover.jpg", "cat/1.png", "cat/2.HEIC", "dog/1.png", "dog/2.avif"]
    assert layout.arrange(names, "set.zip").set_aside == [
        Broken("cat/2.HEIC", "cat", ".HEIC is not read: convert it to JPEG or PNG"),
        Broken("cover.jpg", "", "not in a class folder"),
        Broken("dog/2.avif", "dog", ".avif is not read: convert it to JPEG or PNG"),
    ]
    names = ["test/1.png", "train/cat/1.png", "train/dog/1.png"]
    assert layout.arrange(names, "set.zip").set_aside == [Broken("test/1.png", "", "not in a class folder")]


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


@pytest.mark.parametrize("more", [["owl/"], ["owl/1.heic"], ["owl/young/"]])
def test_a_class_folder_without_a_picture_is_named(more):
    with pytest.raises(DarkroomError, match=r"set\.zip: the class folder 'owl' holds no picture that is read"):
        layout.arrange(["cat/1.png", "dog/1.png", *more], "set.zip")


def test_folders_beside_train_and_test_are_not_guessed_at():
    with pytest.raises(
        DarkroomError, match=r"set\.zip holds test, train beside extra, .*: train, validation and test are"
    ):
        layout.arrange(["train/cat/1.png", "test/dog/2.png", "extra/a/1.png", "x/1.png"], "set.zip")


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
