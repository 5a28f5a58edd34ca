"""One walk, with one set of rules, wherever folders are searched for images."""

import os
import sys

import pytest

from darkroom.commands import answering, corrections, entries, init
from darkroom.data import photos, tree
from darkroom.data.archives import archive, layout
from darkroom.data.settings import FolderSource
from darkroom.data.sources import folder
from darkroom.foundations.errors import DarkroomError
from tests.pictures import class_folders, write_folder, write_tar, write_zip

IMAGES = class_folders({"cat": 2, "dog": 2})
LEFT_BEHIND = [
    "$RECYCLE.BIN/S-1-5/x.png",
    "$Recycle.Bin/x.png",
    "System Volume Information/x.png",
    "lost+found/x.png",
    "#recycle/cat/x.png",
    "cat/@eaDir/000.png/SYNOPHOTO_THUMB_XL.jpg",
    "#snapshot/cat/000.png",
    "@Recycle/x.png",
    "__MACOSX/cat/x.png",
    "cat/.AppleDouble/x.png",
    "cat/._000.png",
    "cat/Thumbs.db",
]


@pytest.fixture
def place(tmp_path):
    return write_folder(tmp_path / "photos", IMAGES)


def download(place):
    """Bring the folder as the stage does; return the names in its archive."""
    out = place.parent / "raw"
    out.mkdir(exist_ok=True)
    folder.fetch(FolderSource(path=str(place)), place.parent / "inbox", place.parent / "downloads", out)
    return [name for name in archive.names(out / "folder.tar") if not name.endswith("/")]


def survey(place):
    return [item.name for item in photos.open_photos(place).items]


def predict(place):
    found = [name.removeprefix(f"{place}/") for name, _ in answering.read([place])]
    assert answering.count(place) == len(found)
    return found


def correct(place):
    """Return the folder that corrections go to, which is found by walking what lies there."""
    assert corrections.target(place) == place
    return [name for name, _ in tree.images(place)]


WALKS = [download, survey, predict, correct]


@pytest.mark.parametrize("walk", WALKS)
def test_what_systems_leave_behind_is_passed_over(place, walk, capsys):
    write_folder(place, dict.fromkeys(LEFT_BEHIND, b"x"))
    assert walk(place) == list(IMAGES)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_and_so_it_is_in_archives(tmp_path, kind):
    path = (write_zip if kind == "zip" else write_tar)(
        tmp_path / f"set.{kind}", IMAGES | dict.fromkeys(LEFT_BEHIND, b"x")
    )
    assert survey(path) == [name for name, _ in answering_names(path)] == list(IMAGES)
    assert not photos.open_photos(path).warnings


def answering_names(path):
    return [(name.removeprefix(f"{path}/"), data) for name, data in answering.read([path])]


def test_an_archive_beside_a_system_folder_is_found(tmp_path):
    path = write_zip(tmp_path / "set.zip", IMAGES)
    write_folder(tmp_path, {"@eaDir/set.zip/x.jpg": b"x", "lost+found/y": b""})
    assert folder.locate(tmp_path) == path


@pytest.mark.parametrize("walk", WALKS)
def test_a_folder_called_like_an_image_is_a_folder(place, walk):
    write_folder(place, {"cat/old.jpg/1.png": IMAGES["cat/000.png"], "dog/.keep": b""})
    (place / "dog" / "empty.png").mkdir()
    assert walk(place) == ["cat/000.png", "cat/001.png", "cat/old.jpg/1.png", "dog/000.png", "dog/001.png"]


def test_and_so_it_is_in_an_archive(tmp_path):
    path = tmp_path / "set.zip"
    write_zip(path, {"cat/old.jpg/": b"", **IMAGES, "dog/manifest.csv/": b""})
    assert survey(path) == list(IMAGES)
    assert answering.count(path) == len(IMAGES)


def deny(monkeypatch, path):
    """Make a folder one that may not be read, for root as well."""
    scandir = os.scandir

    def refuse(place="."):
        if os.fspath(place) == os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("inner", ["dog", "dog/more"])
def test_a_folder_that_cannot_be_read_ends_it(place, walk, inner, monkeypatch):
    write_folder(place, {"dog/more/1.png": b"x"})
    deny(monkeypatch, place / inner)
    with pytest.raises(DarkroomError, match=rf"{inner} cannot be read \(Permission denied\), so its images would be"):
        walk(place)


def test_a_system_folder_need_not_be_readable(place, monkeypatch):
    (place / "lost+found").mkdir()
    deny(monkeypatch, place / "lost+found")
    assert download(place) == predict(place) == survey(place) == list(IMAGES)


@pytest.mark.skipif(sys.platform == "win32", reason="makes links as POSIX does")
@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize("target", ["dog", "dog/000.png", "nowhere"])
def test_links_are_refused_everywhere(place, walk, target):
    (place / "cat" / "link").symlink_to(place / target)
    with pytest.raises(DarkroomError, match=r"cat/link is a link: replace it by the file or folder itself"):
        walk(place)


@pytest.mark.skipif(sys.platform == "win32", reason="makes links as POSIX does")
def test_a_folder_that_is_given_may_be_reached_by_a_link(place):
    link = place.parent / "link"
    link.symlink_to(place)
    assert download(link) == survey(link) == predict(link) == list(IMAGES)


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe as POSIX does")
@pytest.mark.parametrize("walk", WALKS)
def test_a_pipe_called_like_an_image_is_refused_and_not_waited_for(place, walk):
    os.mkfifo(place / "cat" / "9.png")
    with pytest.raises(DarkroomError, match=r"cat/9.png is neither a file nor a folder: remove it"):
        walk(place)
    (place / "cat" / "9.png").rename(place / "cat" / "pipe")
    assert walk(place) == list(IMAGES)


def test_corrections_and_logs_in_a_folder_that_cannot_be_read_are_not_lost(tmp_path, monkeypatch):
    write_folder(tmp_path, {"log/corrections/cat/1.png": b"x", "log/darkroom/data/data.1.log": b"{}"})
    assert [label for _, label, _ in corrections.find(tmp_path / "log" / "corrections")] == ["cat"]
    assert entries._logs(tmp_path / "log") == [tmp_path / "log" / "darkroom" / "data" / "data.1.log"]
    deny(monkeypatch, tmp_path / "log" / "corrections" / "cat")
    with pytest.raises(DarkroomError, match="corrections/cat cannot be read"):
        list(corrections.find(tmp_path / "log" / "corrections"))
    with pytest.raises(DarkroomError, match="corrections/cat cannot be read"):
        entries._logs(tmp_path / "log")


def test_the_order_is_that_of_the_parts_of_names(tmp_path):
    names = ["a/1.png", "a/b/2.png", "a/c.png", "a.png", "a-b/3.png", "B/4.png"]
    write_folder(tmp_path, dict.fromkeys(names, b"x"))
    found = [path for _, path in tree.walk(tmp_path)]
    assert found == sorted(tmp_path.rglob("*"))
    assert [name for name, _ in tree.images(tmp_path)] == [
        path.relative_to(tmp_path).as_posix() for path in found if path.is_file()
    ]


def test_a_deep_folder_is_no_trouble(tmp_path):
    place = tmp_path
    for _ in range(300):
        place = place / "d"
        place.mkdir()
    (place / "1.png").touch()
    assert [name for name, _ in tree.images(tmp_path)] == ["d/" * 300 + "1.png"]


def test_files_in_class_folders_that_are_not_called_like_images_are_reported(place, capsys):
    write_folder(place, {"readme.txt": b"x", "cat/0001": b"x", "cat/old/a.jqg": b"x", "dog/x.txt": b"x"})
    warning = "ignored 3 files in class folders without an image suffix: 'cat/0001', 'cat/old/a.jqg', 'dog/x.txt'"
    download(place)
    assert capsys.readouterr().err == f"warning: folder.tar: {warning}\n"
    assert photos.open_photos(place).warnings == [f"{place}: {warning}"]


@pytest.mark.parametrize("other", ["Cat", "cat ", " CAT", "ca t"])
def test_classes_that_may_be_one_are_reported(tmp_path, other, capsys):
    members = IMAGES | {f"{other}/1.png": IMAGES["cat/000.png"]}
    expected = " and ".join(map(repr, sorted(["cat", other])))
    warning = f"has the classes {expected}, which differ only in case or spaces: if they are the same class, give them"
    out = tmp_path / "raw"
    out.mkdir()
    folder.fetch(FolderSource(path=str(write_zip(tmp_path / "set.zip", members))), tmp_path, tmp_path, out)
    assert capsys.readouterr().err.startswith(f"warning: set.zip {warning}")
    listed = b"path,label\ncat/000.png,cat\ncat/001.png,Cat\n"
    found = photos.open_photos(write_folder(tmp_path / "listed", members | {"manifest.csv": listed}))
    assert [warning.partition(",")[0].endswith("'Cat' and 'cat'") for warning in found.warnings] == [True]


def test_init_shows_warnings(place, capsys):
    write_folder(place, {"Cat/1.png": IMAGES["cat/000.png"]})
    init.show(init.survey(place, 8), init.Console(width=100))
    assert "has the classes 'Cat' and 'cat', which differ" in capsys.readouterr().out


def test_names_of_folders_are_no_images():
    assert layout.is_image("a/1.PNG")
    assert not any(layout.is_image(name) for name in ("a/1.png/", "a/1.txt", ".a/1.png", "@eaDir/1.png"))
