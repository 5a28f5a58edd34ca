import pytest

from darkroom.data import tree
from darkroom.data.archives import archive, manifest, origin
from darkroom.data.archives.layout import Item
from darkroom.data.pack import packing
from darkroom.data.settings import FolderSource, PackSettings
from darkroom.data.sources import folder
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import open_packed
from tests.pictures import class_folders, encode, pixels, write_folder, write_tar, write_zip

NAMES = ["a/1.png", "a/2.png", "b/3.jpg", "notes.txt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\na/1.png,cat\nb/3.jpg,dog\n", [("a/1.png", "cat", "", ""), ("b/3.jpg", "dog", "", "")]),
        (
            '\ufeffLabel, Path ,group,split\r\ncat,a\\1.png,Ann,Valid\r\n\r\n"dog, wet",b/3.jpg,,TEST\r\n',
            [("a/1.png", "cat", "validation", "Ann"), ("b/3.jpg", "dog, wet", "test", "")],
        ),
        (
            "path,label,split\nb/3.jpg,ネコ,train\na/2.png,イヌ\n",
            [("b/3.jpg", "ネコ", "train", ""), ("a/2.png", "イヌ", "", "")],
        ),
    ],
)
def test_columns_may_stand_in_any_order_and_lack(text, expected):
    assert manifest.parse(text.encode(), "manifest.csv", NAMES) == [Item(*row) for row in expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"its first line is '', but must be path,label and"),
        ("path;label\n", r"its first line is 'path;label', but must be path,label and optionally split, group"),
        ("path,label,patient\n", "its first line is 'path,label,patient', but must be"),
        ("path,label\n", "lists no images, but a classifier needs two classes"),
        ("path,label\na/1.png,cat\n", "lists only the label 'cat', but a classifier needs two classes: add"),
        (
            "path,label\na/9.png,cat\n",
            r"line 2: 'a/9.png' does not exist \(paths are relative to the manifest's folder\)",
        ),
        ("path,label\n../1.png,cat\n", "line 2: '../1.png' does not exist"),
        ("path,label\n,cat\n", "line 2: the path is missing"),
        ("path,label\nnotes.txt,cat\n", r"line 2: 'notes.txt' is not an image \(\.avif, \.bmp, "),
        ("path,label\na/1.png, \n", "line 2: 'a/1.png' has no label"),
        (
            "path,label\na/1.png,c\ufffet\n",
            r"line 2: label 'c\\ufffet' contains the character U\+FFFE, which cannot be",
        ),
        ('path,label\na/1.png,"c\nt"\n', r"line 3: label 'c\\nt' contains the character U\+000A"),
        ("path,label,group\na/1.png,cat,\x1b[m\n", r"line 2: group '\\x1b\[m' contains the character U\+001B"),
        ("path,label,slice\na/1.png,cat,\ufdd0\n", r"line 2: slice '\\ufdd0' contains the character U\+FDD0"),
        (
            f"path,label\na/1.png,{'x' * 5000}\n",
            "line 2: label 'x{100}…x{99}' is 5,000 bytes long, and 255 are allowed",
        ),
        (f"path,label\n{'x' * 5000}.png,cat\n", r"line 2: 'x{100}…x{95}\.png' does not exist"),
        ("path,label\n\x1b[2J\u202e.png,cat\n", r"line 2: '\\x1b\[2J\\u202e\.png' does not exist"),
        ("path,label,split\na/1.png,cat,exam\n", "line 2: split 'exam' is not one of train, training, val"),
        ("path,label\na/1.png,cat\na/2.png,dog\na/1.png,dog\n", "line 4: 'a/1.png' is already listed on line 2"),
        (
            "path,label,split,group\na/1.png,cat,train,Ann\na/2.png,dog,,Ann\n",
            "line 3: group 'Ann' is in no split here and in train on line 2, but a group must stay in one",
        ),
        (
            "path,label\na/1.png,cat,wet\n",
            r"line 2: 3 values for 2 columns: put values that contain a comma into double",
        ),
        ('path,label\n"a/1.png,cat\n', "is not a valid CSV file"),
        ("path,label\n" + "x.png,cat\n" * 7, r"line 6: .*\n  and 2 more"),
    ],
)
def test_a_wrong_line_is_named(text, message):
    with pytest.raises(DarkroomError, match=r"^set/manifest.csv(.|\n)*" + message):
        manifest.parse(text.encode(), "set/manifest.csv", [f"set/{name}" for name in NAMES])


def test_another_encoding_is_told():
    with pytest.raises(DarkroomError, match=r"manifest\.csv is not UTF-8: save it as CSV UTF-8"):
        manifest.parse("path,label\nä.png,cat\n".encode("cp1252"), "manifest.csv", NAMES)


PICTURES = {f"{number}.png": encode(pixels(number)) for number in range(4)}
LIST = b"path,label,split,group,slice\n0.png,cat,train,Ann,wet\n1.png,dog,train,Ann,\n3.png,dog,test,,dry\n"


@pytest.mark.parametrize("top", ["", "./", "set/", "a/b/"])
def test_the_manifest_of_an_archive_is_found_inside_its_wrappers(tmp_path, top):
    members = {f"{top}{name}": data for name, data in {"manifest.csv": LIST, **PICTURES}.items()}
    items = manifest.arrange(write_tar(tmp_path / "set.tar", {**members, "README": b"", "__MACOSX/x.png": b""})).items
    assert items == [
        Item(f"{top}0.png", "cat", "train", "Ann", "wet"),
        Item(f"{top}1.png", "dog", "train", "Ann"),
        Item(f"{top}3.png", "dog", "test", "", "dry"),
    ]


def test_without_one_class_folders_count(tmp_path):
    path = write_zip(tmp_path / "set.zip", {**class_folders({"cat": 1, "dog": 1}), "cat/manifest.csv": b"x"})
    assert [item.label for item in manifest.arrange(path).items] == ["cat", "dog"]


def test_a_folder_with_a_manifest_is_packed_with_its_groups(tmp_path):
    inbox, raw, out = (tmp_path / name for name in ("inbox", "raw", "out"))
    for place in (inbox, raw, out):
        place.mkdir()
    write_folder(inbox, {"manifest.csv": LIST, **PICTURES})
    origin.write_origin(raw, folder.fetch(FolderSource(), inbox, tmp_path / "downloads", raw))
    assert archive.names(raw / "folder.tar") == [*PICTURES, "manifest.csv"]
    packing.pack(raw, PackSettings(image_size=8), out)
    records = open_packed(out).records
    assert [(record.name, record.label, record.split, record.group, record.slice) for record in records] == [
        ("0.png", "cat", "train", "Ann", "wet"), ("1.png", "dog", "train", "Ann", ""),
        ("3.png", "dog", "test", "", "dry"),
    ]  # fmt: skip


def test_a_wrong_manifest_is_told_when_pictures_are_fetched(tmp_path):
    inbox, raw = tmp_path / "inbox", tmp_path / "raw"
    raw.mkdir()
    write_folder(inbox, {"manifest.csv": LIST.replace(b"3.png", b"9.png"), **PICTURES})
    with pytest.raises(DarkroomError, match=r"manifest.csv is invalid; correct it:\n  line 4: '9.png' does not exist"):
        folder.fetch(FolderSource(), inbox, tmp_path / "downloads", raw)


def test_a_label_or_group_is_one_however_its_accents_are_encoded():
    text = "path,label,group\na/1.png,caf\u00e9,Zo\u00eb\na/2.png,cafe\u0301,Zoe\u0308\nb/3.jpg,tea,\n"
    items = manifest.parse(text.encode(), "manifest.csv", NAMES)
    assert [(item.label, item.group) for item in items[:2]] == [("caf\u00e9", "Zo\u00eb")] * 2


def test_a_manifest_may_be_written_with_a_capital(tmp_path):
    write_folder(
        tmp_path, {"x/1.png": b"1", "x/2.png": b"2", "Manifest.CSV": b"path,label\nx/1.png,cat\nx/2.png,dog\n"}
    )
    assert folder.locate(tmp_path) == tmp_path
    assert "Manifest.CSV" in [name for name, _ in tree.walk(tmp_path)]
    arranged = manifest.arrange_names(
        ["x/1.png", "x/2.png", "Manifest.CSV"], "it", lambda n: (tmp_path / n).read_bytes()
    )
    assert [item.label for item in arranged.items] == ["cat", "dog"]
