import hashlib
import http.server
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from darkroom import images
from darkroom.data.archives import archive, headers, origin
from darkroom.data.pack import contents
from darkroom.data.settings import FolderSource
from darkroom.data.sources import digits, folder
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from tests.pictures import class_folders, write_folder, write_tar, write_zip

MEMBERS = class_folders({"cat": 2, "dog": 2})


def test_digits_are_all_there_and_the_same_bytes_every_time(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        digits.fetch(tmp_path / name)
    path = tmp_path / "a" / "digits.zip"
    assert path.read_bytes() == (tmp_path / "b" / "digits.zip").read_bytes()
    members = dict(archive.read(path, set(archive.names(path))))
    assert len(members) == 1797
    truth = load_digits()
    grey = images.decode(members["digits/0/0000.png"], 8).pixels[:, :, 0]
    assert np.array_equal(np.round(grey / 255 * 16), truth.images[0])
    assert f"digits/{truth.target[-1]}/1796.png" in members


@pytest.fixture
def places(tmp_path):
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    out.mkdir()
    (inbox / "README.md").write_text("put pictures here")
    return inbox, tmp_path / "downloads", out


def test_class_folders_in_the_inbox_become_one_archive(places):
    inbox, downloads, out = places
    write_folder(inbox, {**MEMBERS, "cat/.DS_Store": b"x"})
    found = folder.fetch(FolderSource(), inbox, downloads, out)
    assert found.title == "Own images"
    path = origin.find_archive(out)
    assert dict(archive.read(path, MEMBERS)) == MEMBERS
    assert archive.names(path) == sorted([*MEMBERS, "cat/", "dog/"])
    first = path.read_bytes()
    for file in inbox.rglob("*.png"):
        file.touch()
    folder.fetch(FolderSource(), inbox, downloads, out)
    assert path.read_bytes() == first  # dates do not count


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_in_the_inbox_is_taken_as_it_is(places, suffix):
    inbox, downloads, out = places
    path = (write_zip if suffix == ".zip" else write_tar)(inbox / f"set{suffix}", MEMBERS)
    folder.fetch(FolderSource(), inbox, downloads, out)
    assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_folder_or_an_archive_by_path(places, tmp_path):
    inbox, downloads, out = places
    path = write_zip(tmp_path / "set.zip", MEMBERS)
    assert folder.fetch(FolderSource(path=str(path)), inbox, downloads, out).title == "set.zip"
    assert (out / "set.zip").is_file()
    (out / "set.zip").unlink()
    folder.fetch(FolderSource(path=str(write_folder(tmp_path / "photos", MEMBERS))), inbox, downloads, out)
    assert sorted(archive.names(out / "folder.tar")) == sorted([*MEMBERS, "cat/", "dog/"])


def test_class_folders_get_the_names_that_source_classes_gives_them(places):
    inbox, downloads, out = places
    write_zip(inbox / "archive.zip", class_folders({"raw-img/cane": 2, "raw-img/gatto": 2, "raw-img/yak": 2}))
    source = FolderSource(classes={"cane": "dog", "gatto": "cat"})
    origin.write_origin(out, folder.fetch(source, inbox, downloads, out))
    assert {item.label for item in contents.open_contents(out).items} == {"dog", "cat", "yak"}


def test_class_folders_that_source_classes_names_and_are_not_there_are_told(places):
    inbox, downloads, out = places
    write_folder(inbox, MEMBERS)
    message = r"source.classes renames cane, dgo, but folder.tar has no such class folder. Its class folders: cat, dog"
    with pytest.raises(DarkroomError, match=message):
        folder.fetch(FolderSource(classes={"cane": "dog", "dgo": "Dog", "cat": "Cat"}), inbox, downloads, out)


def _nothing(inbox):
    pass


def _two_archives(inbox):
    write_zip(inbox / "a.zip", MEMBERS)
    write_zip(inbox / "b.zip", MEMBERS)


def _archive_and_folder(inbox):
    write_zip(inbox / "a.zip", MEMBERS)
    write_folder(inbox, MEMBERS)


def _link(inbox):
    write_folder(inbox, MEMBERS)
    (inbox / "cat" / "link.png").symlink_to("/etc/passwd")


def _linked_folder(inbox):
    write_folder(inbox, MEMBERS)
    (inbox / "owl").symlink_to(inbox / "cat")


def _empty_class(inbox):
    write_folder(inbox, MEMBERS)
    (inbox / "owl").mkdir()


def _one_class(inbox):
    write_folder(inbox, {"cat/1.png": b"x"})


def _empty_archive(inbox):
    write_zip(inbox / "a.zip", {})


def _climbing(inbox):
    write_tar(inbox / "a.tar", {"../a/1.png": b"x"})


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (_nothing, "inbox contains no images: put an archive or class folders there"),
        (_two_archives, "inbox contains a.zip, b.zip: keep one archive, or only class folders"),
        (_archive_and_folder, "inbox contains a.zip, cat, dog: keep one archive"),
        (_link, r"cat/link.png is a link: replace it by the file or folder itself"),
        (_linked_folder, r"owl is a link: replace it by the file or folder itself"),
        (_empty_class, r"folder.tar: the class folder 'owl' contains no supported image"),
        (_one_class, "folder.tar contains only the class folder 'cat'"),
        (_empty_archive, "a.zip contains no images"),
        (_climbing, r"a.tar contains '../a/1.png', a path that leads out of the archive"),
    ],
)
def test_a_wrong_inbox_is_one_message_with_the_remedy(places, fill, message):
    inbox, downloads, out = places
    fill(inbox)
    with pytest.raises(DarkroomError, match=message):
        folder.fetch(FolderSource(), inbox, downloads, out)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_picture_that_changes_while_it_is_read_is_reported(places, monkeypatch, change):
    inbox, downloads, out = places
    write_folder(inbox, class_folders({"a": 2, "b": 2}))
    picture = inbox / "b" / "001.png"
    write = headers.write

    def changed(name: str, size: int) -> bytes:
        if name == "b/001.png":
            data = picture.read_bytes()
            picture.write_bytes(data[:change] if change < 0 else data + b"x" * change)
        return write(name, size)

    monkeypatch.setattr(headers, "write", changed)
    with pytest.raises(
        DarkroomError, match=r"b/001\.png changed while it was being read: start again when no program is writing"
    ):
        folder.fetch(FolderSource(), inbox, downloads, out)


def test_an_experiment_in_a_copy_of_the_project_says_that_git_does_not_know_the_pictures(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    (copy / "inbox").mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(DarkroomError) as error:
        folder.fetch(FolderSource(path="photos"), Path("inbox"), Path("downloads"), copy)
    place = tmp_path / "photos"
    assert f"which does not include the images in {place}: set source.path to that folder, or run with" in str(
        error.value
    )
    monkeypatch.setenv("DVC_ROOT", str(copy))  # an ordinary run
    with pytest.raises(DarkroomError) as error:
        folder.fetch(FolderSource(path="photos"), Path("inbox"), Path("downloads"), copy)
    assert "git" not in str(error.value)


def test_a_path_that_is_not_there_and_a_wrong_checksum(places, tmp_path):
    with pytest.raises(DarkroomError, match=r"nowhere does not exist: set source\.path"):
        folder.fetch(FolderSource(path=str(tmp_path / "nowhere")), *places)
    path = write_zip(tmp_path / "set.zip", MEMBERS)
    with pytest.raises(
        DarkroomError, match=f"set.zip has SHA-256 {files.sha256(path)}, but params.yaml has {'0' * 64}"
    ):
        folder.fetch(FolderSource(path=str(path), sha256="0" * 64), *places)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def address(tmp_path):
    """Return the address of a real server that gives out the folder tmp_path/www."""
    (tmp_path / "www").mkdir()
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_archive_by_address_is_fetched_and_checked(places, tmp_path, address):
    inbox, downloads, out = places
    path = write_zip(tmp_path / "www" / "set.zip", MEMBERS)
    source = FolderSource(url=f"{address}/set.zip", sha256=files.sha256(path))
    assert folder.fetch(source, inbox, downloads, out).title == "set.zip"
    assert (out / "set.zip").read_bytes() == path.read_bytes()
    assert origin.find_archive(out).name == "set.zip"


@pytest.mark.parametrize(
    ("name", "digest", "message"),
    [
        ("set.zip", hashlib.sha256(b"other").hexdigest(), "does not have SHA-256"),
        ("none.zip", "0" * 64, "could not be fetched .*404.*: check the URL, the network"),
        ("set.exe", "0" * 64, "must end in one of .zip"),
    ],
)
def test_a_failed_download_is_one_message_and_leaves_nothing(places, tmp_path, address, name, digest, message):
    inbox, downloads, out = places
    write_zip(tmp_path / "www" / "set.zip", MEMBERS)
    with pytest.raises(DarkroomError, match=message):
        folder.fetch(FolderSource(url=f"{address}/{name}", sha256=digest), inbox, downloads, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.zip", "file:///etc/a.zip"])
def test_only_web_addresses_are_fetched(places, url):
    with pytest.raises(DarkroomError, match="must begin with http"):
        folder.fetch(FolderSource(url=url, sha256="0" * 64), *places)
    with pytest.raises(DarkroomError, match=r"could not be reached .*refused"):
        folder.fetch(FolderSource(url="http://127.0.0.1:1/a.zip", sha256="0" * 64), *places)


def test_the_origin_stands_beside_its_archive(tmp_path):
    path = write_zip(tmp_path / "set.zip", MEMBERS)
    origin.write_origin(tmp_path, origin.Origin("Cats", "a shelter", "CC0"))
    written = files.read_json(tmp_path / "source.json")
    assert written == {
        "title": "Cats", "source": "a shelter", "licence": "CC0", "form": "class folders", "classes": {},
        "archive": "set.zip", "sha256": files.sha256(path),
    }  # fmt: skip
    assert origin.read_origin(tmp_path) == origin.Origin("Cats", "a shelter", "CC0")
    path.unlink()
    with pytest.raises(DarkroomError, match="must contain one archive, not 0"):
        origin.find_archive(tmp_path)


@pytest.mark.parametrize("letter", ["\ufffe", "\uffff", "\ufdd0", "\U0010ffff", "\x1b", "\n", "\u2028"], ids=ascii)
@pytest.mark.parametrize("form", ["folder", "zip", "tar", "manifest"])
def test_a_class_name_that_cannot_be_printed_is_refused_at_download(places, form, letter):
    inbox, downloads, out = places
    label = f"do{letter}g"
    members = {name.replace("dog", label): data for name, data in MEMBERS.items()}
    rows = "".join(f'{name},"{name[:3].replace("dog", label)}"\n' for name in MEMBERS)
    match form:
        case "folder":
            write_folder(inbox, members)
        case "zip":
            write_zip(inbox / "set.zip", members)
        case "tar":
            write_tar(inbox / "set.tar", members)
        case "manifest":
            write_folder(inbox, {**MEMBERS, "manifest.csv": f"path,label\n{rows}".encode()})
    message = (
        rf"'do{re.escape(ascii(letter)[1:-1])}g' contains the character U\+{ord(letter):04X}, which cannot be printed"
    )
    with pytest.raises(DarkroomError, match=message):
        folder.fetch(FolderSource(), inbox, downloads, out)


def test_an_archive_whose_own_name_is_no_text_is_refused(places):
    inbox, downloads, out = places
    write_zip(inbox / "a\udcff.zip", MEMBERS)
    for path in (None, str(inbox / "a\udcff.zip")):
        with pytest.raises(DarkroomError, match=r"inbox contains 'a\\udcff\.zip', a name that is not UTF-8: rename it"):
            folder.fetch(FolderSource(path=path), inbox, downloads, out)
    assert list(out.iterdir()) == []
