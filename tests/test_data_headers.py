"""Headers of tar archives: the bytes of tarfile, and nothing accepted that it would read differently."""

import io
import tarfile
from pathlib import Path

import pytest

from darkroom.data.archives import archive, headers
from darkroom.data.settings import FolderSource
from darkroom.data.sources import folder
from tests.pictures import class_folders, encode, pixels

NAMES = ["train/cat/00042.jpg", "x" * 100, "x" * 101, "a/" * 80 + "b.png", "katzen/ö.jpg", "a b.jpg", "日本/1.png"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 1500, 8**11 - 1, 8**11])
def test_a_header_is_the_one_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    header = headers.write(name, size)
    assert header == info.tobuf(tarfile.PAX_FORMAT)
    plain = len(name) <= 100 and name.isascii() and size < 8**11
    assert headers.read(header) == ((name, size) if plain else None)


def test_a_header_with_any_other_byte_is_left_to_tarfile():
    header = headers.write("cat/1.jpg", 1234)
    for place in range(len(header)):
        for flip in (1, 0x80):
            damaged = bytearray(header)
            damaged[place] ^= flip
            assert headers.read(bytes(damaged)) is None, place
    other = tarfile.TarInfo("cat/1.jpg")
    other.size, other.mtime = 1234, 1
    for block in (other.tobuf(), header[:-1], b"", bytes(512)):
        assert headers.read(block) is None


@pytest.mark.parametrize("piece", [1024 * 1024, 512, 7])
def test_a_folder_is_the_archive_that_tarfile_writes(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(folder, "PIECE", piece)
    members = {
        **class_folders({"cat": 2, "dog": 2}), "cat/empty.png": b"", "dog/ö.png": encode(pixels(1)),
        "dog/" + "x" * 120 + ".png": encode(pixels(2)),
    }  # fmt: skip
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted([*members, "cat", "dog"]):
            info = tarfile.TarInfo(name)
            info.type = tarfile.REGTYPE if name in members else tarfile.DIRTYPE
            info.size = len(members.get(name, b""))
            tar.addfile(info, io.BytesIO(members.get(name, b"")))
    for name, data in members.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    out = tmp_path / "raw"
    out.mkdir()
    folder.fetch(FolderSource(path=str(tmp_path / "photos")), Path("inbox"), Path("downloads"), out)
    assert (out / "folder.tar").read_bytes() == expected.getvalue()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_plain_headers_among_others_are_read_in_order(tmp_path, suffix):
    path = tmp_path / f"set.tar{suffix}"
    stored = {}
    with tarfile.open(path, f"w:{suffix[1:]}", format=tarfile.PAX_FORMAT) as tar:
        for number, name in enumerate([*NAMES, *(f"plain/{number}.png" for number in range(9)), "ö/again.png"]):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 300 * number, number % 3  # those with a time are not plain
            stored[name] = bytes([number]) * info.size
            tar.addfile(info, io.BytesIO(stored[name]))
    assert archive.names(path) == list(stored)
    some = set(list(stored)[::2])
    assert dict(archive.read(path, some)) == {name: data for name, data in stored.items() if name in some}
