import pytest

from darkroom.data.archives import layout
from darkroom.data.archives.layout import Item
from darkroom.foundations.errors import DarkroomError
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
    names = ["cover.jpg", "cat/1.png", "dog/1.png"]
    assert layout.arrange(names, "set.zip").set_aside == [Broken("cover.jpg", "", "not in a class folder")]
    names = ["test/1.png", "train/cat/1.png", "train/dog/1.png"]
    assert layout.arrange(names, "set.zip").set_aside == [Broken("test/1.png", "", "not in a class folder")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "set.zip contains no images"),
        (["a.txt"], "set.zip contains no images"),
        (
            ["1.png", "2.png"],
            "set.zip contains images but no class folders, but a classifier needs at least two classes",
        ),
        (["cat/1.png", "cat/2.png"], "set.zip contains only the class folder 'cat'"),
    ],
)
def test_a_wrong_layout_says_what_to_do(names, message):
    with pytest.raises(DarkroomError, match=message) as error:
        layout.arrange(names, "set.zip")
    assert "put the images of each class into a separate folder, such as cats/1.jpg" in str(error.value)


def test_an_image_is_opened_whatever_its_suffix_says():
    names = ["cat/1.png", "cat/2.HEIC", "dog/1.avif", "dog/2.nef", "dog/notes.txt"]
    arrangement = layout.arrange(names, "set.zip")
    assert [item.name for item in arrangement.items] == names[:4]
    assert arrangement.set_aside == []


@pytest.mark.parametrize("more", [["owl/"], ["owl/young/"]])
def test_a_class_folder_without_a_picture_is_named(more):
    with pytest.raises(DarkroomError, match=r"set\.zip: the class folder 'owl' contains no supported image"):
        layout.arrange(["cat/1.png", "dog/1.png", *more], "set.zip")


def test_folders_beside_train_and_test_are_not_guessed_at():
    with pytest.raises(
        DarkroomError, match=r"set\.zip contains test, train next to extra, .*: train, validation and test are"
    ):
        layout.arrange(["train/cat/1.png", "test/dog/2.png", "extra/cat/1.png", "x/a/1.png", "x/b/1.png"], "set.zip")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set", "test_set"),
        ("dataset/training_set", "test_set"),
        ("dataset/training_set/training_set", "dataset/test_set/test_set"),
        ("a/b/Train-2017", "a/b/Test-2017"),
        ("TrainImages", "TestImages"),
        ("mytrain", "mytest"),
        ("train/images", "test/images"),
        ("train", "test/test"),
        ("birds_train", "birds_test"),
    ],
)
def test_splits_are_recognised_by_parts_of_their_names(train, test):
    names = [
        f"{folder}/{label}/{number}.png" for folder in (train, test) for label in ("cat", "dog") for number in "12"
    ]
    found = layout.arrange(names, "set.zip")
    expected = {("cat", train): "train", ("dog", train): "train", ("cat", test): "test", ("dog", test): "test"}
    for item in found.items:
        folder = item.name.rsplit("/", 2)[0]
        assert item.split == expected[item.label, folder]
    assert len(found.items) == 8
    assert sorted(found.splits.values()) == ["test", "train"]
    assert found.warnings == []
    assert str(layout.class_folder(names, "set.zip")) == train


def test_validation_is_recognised_and_class_folders_may_hold_the_splits():
    names = [f"my_{split}/{label}/1.png" for split in ("train", "valid", "test") for label in ("cat", "dog")]
    assert {item.split for item in layout.arrange(names, "set.zip").items} == {"train", "validation", "test"}
    names = [f"{label}/{split}/1.png" for split in ("train", "val", "test") for label in ("cat", "dog")]
    items = layout.arrange(names, "set.zip").items
    assert [(item.label, item.split) for item in items[:3]] == [
        ("cat", "test"), ("cat", "train"), ("cat", "validation")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["trains/steam/1.png", "buses/old/1.png"], {"trains", "buses"}),
        (["train/1.png", "plane/2.png"], {"train", "plane"}),
        (["contest/a/1.png", "tester/b/1.png"], {"contest", "tester"}),
        (["cat/train/day/1.png", "dog/train/night/1.png"], {"cat", "dog"}),
        (["cat/images/1.png", "dog/images/1.png"], {"cat", "dog"}),
        (["cat/patient 1/1.png", "cat/patient 2/1.png", "dog/patient 3/1.png"], {"cat", "dog"}),
    ],
)
def test_classes_whose_names_only_resemble_splits_stay_classes(names, classes):
    items = layout.arrange(names, "set.zip").items
    assert {item.label for item in items} == classes
    assert len(items) == len(names)


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        (("first", "second"), r"'first' and 'second' contain folders of the same names \(cat, dog\)"),
        (("camera/a", "camera/b"), r"'a' and 'b' contain folders of the same names"),
        (("", "cells"), r"'cells' contains folders that are also next to it \(cat, dog, owl\)"),
        (("holdout", "rest"), r"not clear which folders are the classes.*manifest\.csv"),
    ],
)
def test_repeated_folders_are_never_guessed_at(outer, message):
    names = [f"{folder}/{label}/1.png".lstrip("/") for folder in outer for label in ("cat", "dog", "owl")]
    names = [name.replace("owl", "owl" if name.startswith(outer[0]) else "emu") for name in names]
    with pytest.raises(DarkroomError, match=message):
        layout.arrange(names, "set.zip")


@pytest.mark.parametrize("beside", ["predict", "seg_pred/seg_pred", "new photos", "unlabeled/images"])
def test_a_folder_of_unlabelled_images_beside_the_splits_is_named_and_left_out(beside):
    names = [f"{split}/{label}/1.png" for split in ("train", "test") for label in ("cat", "dog")]
    found = layout.arrange([*names, *(f"{beside}/{number}.png" for number in range(7))], "photos")
    assert {item.label for item in found.items} == {"cat", "dog"}
    assert len(found.set_aside) == 7
    assert found.warnings == [f"photos: 7 images are not in a class folder and will be ignored: 7 in {beside}"]


def test_beside_one_split_only_a_telling_name_is_left_out():
    names = ["train/cat/1.png", "train/dog/1.png", "predictions/1.png", "test/1.png"]
    assert len(layout.arrange(names, "photos").items) == 2
    with pytest.raises(DarkroomError, match="photos contains train next to owl"):
        layout.arrange([*names, "owl/1.png"], "photos")


SETS = {
    "class folders": [f"{label}/1.png" for label in ("cat", "dog")],
    "in one folder": [f"photos/{label}/1.png" for label in ("cat", "dog")],
    "splits": [f"{split}/{label}/1.png" for split in ("train", "test") for label in ("cat", "dog")],
}
UNLABELLED = [
    *(
        "unlabelled",
        "Unlabeled",
        "un-labelled images",
        "predict",
        "my_predictions",
        "to_label",
        "toLabel",
        "to be labelled",
    ),
    *(
        "unsorted",
        "UNSORTED-2024",
        "to sort",
        "to_classify",
        "unclassified",
        "not yet/unannotated",
        "no_label",
        "submission",
    ),
]


@pytest.mark.parametrize("names", SETS.values(), ids=list(SETS))
@pytest.mark.parametrize("beside", UNLABELLED)
def test_a_folder_whose_name_says_that_it_has_no_class_is_named_and_left_out(names, beside):
    inside = "photos/" * names[0].startswith("photos")
    found = layout.arrange([*names, *(f"{inside}{beside}/{number}.png" for number in range(7))], "set")
    assert {item.label for item in found.items} == {"cat", "dog"}
    assert [item.name for item in found.set_aside] == [f"{inside}{beside}/{number}.png" for number in range(7)]
    (warning,) = found.warnings
    assert warning.startswith(f"set: 7 images are not in a class folder and will be ignored: 7 in {inside}{beside}")
    name = beside.rpartition("/")[2]
    override = f"; its name says so. If it is a class, add {name}: {name} to source.classes in params.yaml"
    assert warning.endswith(override) is not names[0].startswith("train"), "beside splits nothing is a class"


@pytest.mark.parametrize("names", SETS.values(), ids=list(SETS))
@pytest.mark.parametrize(
    "name", ["predator", "unknown", "label", "sorted", "Tomato", "together", "unpredictable", "pre"]
)
def test_a_class_whose_name_only_resembles_that_stays_a_class(names, name):
    more = [path.replace("cat", name) for path in names if "cat" in path]
    assert {item.label for item in layout.arrange([*names, *more], "set").items} == {"cat", "dog", name}


def test_a_folder_without_labels_is_found_outside_of_what_holds_the_classes():
    found = layout.arrange(["all/cat/1.png", "all/dog/1.png", "to_label/1.png", "to_label/2024/1.png"], "set")
    assert [(item.name, item.label) for item in found.items] == [("all/cat/1.png", "cat"), ("all/dog/1.png", "dog")]
    assert str(layout.class_folder(["all/cat/1.png", "all/dog/1.png", "to_label/a/1.png"], "set")) == "all"


def test_folders_without_labels_inside_a_split_are_no_class_and_an_empty_one_is_no_error():
    names = [*SETS["splits"], "train/unsorted/1.png", "test/to_label/1.png", "unlabelled/", "train/pred/"]
    found = layout.arrange(names, "set")
    assert {item.label for item in found.items} == {"cat", "dog"}
    assert found.warnings == [
        "set: 2 images are not in a class folder and will be ignored: 1 in test/to_label, 1 in train/unsorted; their "
        "names say so. If they are classes, add to_label: to_label, unsorted: unsorted to source.classes in params.yaml"
    ]


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (["cat/1.png", "dog/1.png", "unsorted/1.png"], {"unsorted": "mixed"}, {"cat", "dog", "unsorted"}),
        (["cat/1.png", "dog/1.png", "unsorted/1.png"], {"cat": "kitten"}, {"cat", "dog"}),
        (["sorted/1.png", "unsorted/1.png"], {}, {"sorted", "unsorted"}),
        (["to_label/cat/1.png", "to_label/dog/1.png"], {}, {"cat", "dog"}),
        (["cat/1.png", "dog/1.png", "unsorted/cat/1.png"], {}, {"cat", "dog", "unsorted"}),
    ],
    ids=["listed", "another listed", "too few others", "around all", "a class inside"],
)
def test_what_may_be_a_class_after_all_stays_one(names, classes, expected):
    assert {item.label for item in layout.arrange(names, "set", classes).items} == expected


def test_an_archive_inside_is_named():
    with pytest.raises(
        DarkroomError, match=r"set\.zip contains no images, only a/inner\.ZIP, and nested archives are not"
    ):
        layout.arrange(["a/inner.ZIP", "read.me"], "set.zip")
    assert layout.arrange(["cat/1.png", "dog/1.png", "more.tar.gz"], "set.zip").warnings == [
        "set.zip contains 1 nested archive, which is not opened (more.tar.gz): unpack what belongs to the data set"
    ]


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
    broken = [Broken("dog/1.png", "dog", "the file is empty"), Broken("dog/2.png", "dog", "damaged image")]
    layout.refuse_unreadable_classes(wanted, ["cat", "dog"], broken, "set.zip")
    with pytest.raises(
        DarkroomError, match=r"no image of class 'dog' can be read \(2 tried; the first is dog/1.png: the file is em"
    ):
        layout.refuse_unreadable_classes(wanted, ["cat"], broken, "set.zip")
