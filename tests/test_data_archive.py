import stat
import tarfile
import zipfile

import pytest

from darkroom.data.archives import archive, unpacking
from darkroom.foundations.errors import DarkroomError
from tests.pictures import write_tar, write_zip

MEMBERS = {"a/1.png": b"one", "b/2.png": b"two", "notes.txt": b"three"}
TARS = [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")]


@pytest.mark.parametrize(("suffix", "mode"), [(".zip", ""), *TARS])
def test_members_are_listed_and_read(tmp_path, suffix, mode):
    path = tmp_path / f"set{suffix}"
    write_tar(path, MEMBERS, mode) if mode else write_zip(path, MEMBERS)
    assert archive.is_archive(path)
    assert archive.names(path) == list(MEMBERS)
    assert dict(archive.read(path, {"a/1.png", "b/2.png"})) == {"a/1.png": b"one", "b/2.png": b"two"}


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/etc/passwd", "..\\up.png", "C:/up.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_climbs_out_is_refused(tmp_path, name, kind):
    path = (write_zip if kind == "zip" else write_tar)(tmp_path / f"set.{kind}", {name: b"x"})
    with pytest.raises(DarkroomError, match=r"set\.(zip|tar) contains .*a path that leads out of the archive"):
        archive.names(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        info = tarfile.TarInfo("a/link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(DarkroomError, match=r"contains the link 'a/link\.png'"):
        archive.names(tmp_path / "set.tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as target:
        info = zipfile.ZipInfo("a/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(info, "/etc/passwd")
    with pytest.raises(DarkroomError, match=r"contains the link 'a/link\.png'"):
        archive.names(tmp_path / "set.zip")


@pytest.mark.parametrize(("suffix", "mode"), [(".zip", ""), *TARS])
def test_an_archive_that_is_cut_short_is_one_message(tmp_path, suffix, mode):
    path = tmp_path / f"set{suffix}"
    members = {f"a/{number}.png": bytes(range(256)) * 40 for number in range(4)}
    write_tar(path, members, mode) if mode else write_zip(path, members)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DarkroomError, match=r"set\S+ is damaged or truncated \(.*\): download or create it again"):
        archive.names(path)


def test_a_damaged_member_of_a_zip_comes_with_the_reason_and_the_others_whole(tmp_path):
    path = write_zip(tmp_path / "set.zip", MEMBERS)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"one", b"ONE", 1))  # stored plain: the checksum no longer fits
    reason = "damaged in the archive (its size or checksum is wrong)"
    assert dict(archive.read(path, MEMBERS)) == {**MEMBERS, "a/1.png": reason}


def test_a_huge_member_comes_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_MEMBER", 4)
    for path in (write_zip(tmp_path / "set.zip", MEMBERS), write_tar(tmp_path / "set.tar", MEMBERS)):
        found = dict(archive.read(path, MEMBERS))
        assert found.pop("notes.txt").endswith("MB allowed: make the image smaller")
        assert found == {"a/1.png": b"one", "b/2.png": b"two"}


def test_something_else_is_not_an_archive(tmp_path):
    (tmp_path / "set.rar").write_bytes(b"Rar!")
    with pytest.raises(DarkroomError, match=r"set\.rar is not a supported archive: use one of \.zip"):
        archive.names(tmp_path / "set.rar")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"a/1.png": b"x"})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DarkroomError, match=r"set\.zip is encrypted"):
        archive.names(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_does_not_decompress_comes_with_the_reason(tmp_path, method):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as target:
        for name in ("a/1.png", "a/2.png"):
            target.writestr(name, bytes(range(256)) * 20)
    data = bytearray(path.read_bytes())
    start = data.index(b"a/1.png") + len(b"a/1.png")
    data[start + 10 : start + 60] = b"\xff" * 50
    path.write_bytes(data)
    members = dict(archive.read(path, {"a/1.png", "a/2.png"}))
    assert members.pop("a/1.png").startswith("damaged in the archive (")
    assert members == {"a/2.png": bytes(range(256)) * 20}


def test_a_name_that_is_not_text_is_refused(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("a/caf\xe9.png"))
    with pytest.raises(DarkroomError, match=r"contains 'a/caf\\udce9.png', a name that is not UTF-8"):
        archive.names(tmp_path / "set.tar")


def test_folders_are_no_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as target:
        target.mkdir("a")
    assert archive.names(tmp_path / "set.zip") == ["a/"]
    assert dict(archive.read(tmp_path / "set.zip", {"a/"})) == {}
    assert not archive.is_archive(tmp_path / "a.png")


@pytest.mark.parametrize("second", ["a/1.png", "./a/1.png"])
def test_a_name_that_is_there_twice_is_refused(tmp_path, second):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name in ("a", "a/1.png", second):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name == "a" else tarfile.REGTYPE
            tar.addfile(info)
    with pytest.raises(
        DarkroomError, match=r"set.tar contains .*a/1.png twice, perhaps because it was updated: create it again"
    ):
        archive.names(tmp_path / "set.tar")
