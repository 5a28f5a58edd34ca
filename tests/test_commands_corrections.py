import hashlib

import pytest

from darkroom.commands import main
from darkroom.data.archives import layout
from darkroom.foundations.errors import DarkroomError
from tests import factories
from tests.pictures import encode, pixels, write_folder, write_zip
from tests.test_commands_init import PARAMS

CLASSES = ("cat", "dog")
RIGHT = [encode(pixels(seed)) for seed in range(6)]


def sent(*pairs):
    """Return the service's folder of corrections as name -> bytes, from (class, content)."""
    return {f"corrections/{label}/{hashlib.sha256(data).hexdigest()}.png": data for label, data in pairs}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS.replace("dataset: digits", "dataset: folder"))
    return tmp_path


def write_index(place, **labels):
    """Write the index of packed data that has the pictures `RIGHT[number]` of these classes."""
    place.joinpath("data", "packed").mkdir(parents=True)
    rows = [
        (f"{label}/{key}.png", label, "", 12, 12, hashlib.sha256(RIGHT[int(key[1:])]).hexdigest(), "0", "")
        for key, label in labels.items()
    ]
    columns = ("name", "label", "split", "width", "height", "sha256", "phash", "group")
    factories.write_csv(place / "data" / "packed" / "index.csv", columns, rows)


def inbox(place):
    return {
        path.relative_to(place / "data" / "inbox").as_posix(): path.read_bytes()
        for path in (place / "data" / "inbox").rglob("*")
        if path.is_file()
    }


def test_corrections_come_into_class_folders_and_only_once(place, capsys):
    corrections = sent(("cat", RIGHT[0]), ("cat", RIGHT[1]), ("dog", RIGHT[2]))
    write_folder(place / "log", {**corrections, "darkroom/data/data.1.log": b"{}", "corrections/cat/.x.123": b"half"})
    main.run(["corrections", "log"])
    assert capsys.readouterr().out == (
        "3 images copied to data/inbox: cat 2, dog 1\nCheck whether the users were right, then run: dvc repro\n"
    )
    assert inbox(place) == {name.removeprefix("corrections/"): data for name, data in corrections.items()}
    main.run(["corrections", "log"])
    assert capsys.readouterr().out == "3 are already there\n"


def test_what_nobody_could_learn_from_stays_where_it_is(place, capsys):
    write_index(place, n0="cat", n1="dog")
    corrections = sent(
        ("cat", RIGHT[0]),  # the data have it
        ("cat", RIGHT[1]),  # as a dog
        ("cat", RIGHT[2]),
        ("dog", RIGHT[2]),  # two users disagree
        ("frog", RIGHT[3]),  # a class of an older model
        ("dog", RIGHT[4][:60]),
        ("dog", RIGHT[5]),
    )
    write_folder(place / "log", corrections)
    main.run(["corrections", "log/corrections"])
    printed = capsys.readouterr().out
    for part in (
        "1 image copied to data/inbox: dog 1",
        "1 is already there",
        "5 skipped:",
        "it is in the data as 'dog'; if that is wrong, run darkroom curate",
        "corrected to cat and to dog",
        "there is no class 'frog' in the data",
        ".png: damaged image",
    ):
        assert part in printed
    assert list(inbox(place).values()) == [RIGHT[5]]


def test_a_class_is_called_as_the_data_call_it(place, capsys):
    write_index(place, n0="a: b", n1="T-shirt/top")
    write_folder(place / "log", sent(("a%3A b", RIGHT[2]), ("T-shirt%2Ftop", RIGHT[3]), ("%2E%2E", RIGHT[4])))
    main.run(["corrections", "log"])
    printed = capsys.readouterr().out
    assert "1 image copied to data/inbox: a: b 1" in printed
    assert printed.count("the class is not a valid folder name") == 2
    assert [name.partition("/")[0] for name in inbox(place)] == ["a: b"]


def test_with_splits_they_go_to_the_training_pictures(place):
    write_folder(place / "data" / "inbox", {"Train/cat/1.png": RIGHT[0], "test/cat/2.png": RIGHT[1]})
    write_folder(place / "log", sent(("cat", RIGHT[2])))
    main.run(["corrections", "log"])
    assert sorted(name.rpartition("/")[0] for name in inbox(place)) == ["Train/cat", "Train/cat", "test/cat"]


def test_another_folder_can_be_named(place, capsys):
    write_folder(place / "log", sent(("cat", RIGHT[2])))
    main.run(["corrections", "log", "--to", "photos"])
    assert "dvc repro -f download && dvc repro" in capsys.readouterr().out
    assert len(list((place / "photos" / "cat").iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "log has no corrections: give the folder set as serve.log"),
        ("digits", "datasets.digits.source is of kind digits, not a folder of your images"),
        ("path", "datasets.folder.source is /photos, not data/inbox: give the target"),
        ("archive", "data/inbox contains photos.zip, so class folders next to it are not read"),
        ("manifest", "data/inbox contains manifest.csv, so class folders next to it are not read"),
    ],
)
def test_where_they_would_not_be_read_nothing_is_copied(place, kind, message):
    if kind != "nothing":
        write_folder(place / "log", sent(("cat", RIGHT[0])))
    if kind == "digits":
        (place / "params.yaml").write_text(PARAMS)
    if kind == "path":
        (place / "params.yaml").write_text(
            PARAMS.replace("dataset: digits", "dataset: folder").replace("path: null", "path: /photos")
        )
    if kind == "archive":
        (place / "data" / "inbox").mkdir(parents=True)
        write_zip(place / "data" / "inbox" / "photos.zip", {"cat/1.png": RIGHT[0]})
    if kind == "manifest":
        write_folder(place / "data" / "inbox", {"manifest.csv": b"path,label\n"})
    before = sorted(place.rglob("*"))
    with pytest.raises(DarkroomError, match=message):
        main.run(["corrections", "log"])
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("around", ["", "photos/", "photos/mine/", "set/Train/"])
def test_corrections_join_the_class_folders_wherever_they_lie(place, around):
    old = {f"{around}{label}/{number}.png": RIGHT[number] for number, label in ((0, "cat"), (1, "dog"))}
    if "Train" in around:
        old |= {f"set/TEST/{label}/{number}.png": RIGHT[number] for number, label in ((2, "cat"), (3, "dog"))}
    write_folder(place / "data" / "inbox", old)
    write_folder(place / "log", sent(("cat", RIGHT[4]), ("dog", RIGHT[5])))
    main.run(["corrections", "log"])
    items = layout.arrange(inbox(place), "inbox").items
    assert len(items) == len(old) + 2
    assert {item.label for item in items} == set(CLASSES)
    assert {item.split for item in items} == ({"train", "test"} if "Train" in around else {""})
    assert all(name.startswith(around) for name in set(inbox(place)) - set(old))
