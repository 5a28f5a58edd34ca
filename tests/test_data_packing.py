import numpy as np
import pytest

from darkroom import images
from darkroom.data.archives import origin
from darkroom.data.pack import opening, packing
from darkroom.data.settings import PackSettings
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import open_packed
from tests.pictures import class_folders, write_zip

MEMBERS = class_folders({"cat": 5, "dog": 5})
SETTINGS = PackSettings(image_size=8)


def pack(tmp_path, members, settings=SETTINGS, name="raw", **options):
    raw, out = tmp_path / name, tmp_path / f"{name}-packed"
    raw.mkdir()
    out.mkdir()
    write_zip(raw / "set.zip", members)
    origin.write_origin(raw, origin.Origin("Set", "here", "CC0"))
    return out, packing.pack(raw, settings, out, **options)


def test_every_picture_becomes_a_row_as_decode_gives_it(tmp_path):
    out, (count, broken) = pack(tmp_path, MEMBERS)
    assert (count, broken) == (10, [])
    packed = open_packed(out)
    assert packed.images.shape == (10, 8, 8, 3)
    for record, row in zip(packed.records, packed.images, strict=True):
        assert np.array_equal(row, images.decode(MEMBERS[record.name], 8).pixels)
        assert record.label == record.name.split("/")[0]
        assert (record.width, record.height) == (12, 12)
    assert packed.source["title"] == "Set"


def test_broken_pictures_are_set_aside_and_listed(tmp_path):
    bad = {"cat/bad.png": b"", "dog/cut.png": MEMBERS["dog/000.png"][:40], "dog/text.jpg": b"hello"}
    out, (count, broken) = pack(tmp_path, {**bad, **MEMBERS})
    assert count == 10
    assert {(item.name, item.label) for item in broken} == {
        ("cat/bad.png", "cat"), ("dog/cut.png", "dog"), ("dog/text.jpg", "dog")
    }  # fmt: skip
    packed = open_packed(out)
    assert packed.broken == broken
    assert packed.broken[0].reason == "the file is empty"
    assert packed.images.shape[0] == len(packed.records) == 10
    assert np.array_equal(packed.images[-1], images.decode(MEMBERS[packed.records[-1].name], 8).pixels)


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "CHUNK", 3)
    members = {**MEMBERS, "dog/bad.png": b"x"}
    outs = [pack(tmp_path, members, name=f"w{workers}", workers=workers)[0] for workers in (1, 2, 3)]
    for name in ("images.npy", "index.csv", "broken.csv", "moments.npy", "checksums.json"):
        assert len({(out / name).read_bytes() for out in outs}) == 1


def test_a_limit_keeps_that_many_a_class(tmp_path):
    _, (count, _) = pack(tmp_path, MEMBERS, PackSettings(image_size=8, limit_per_class=4))
    assert count == 8


def test_copies_share_a_hash_and_others_do_not(tmp_path):
    out, _ = pack(tmp_path, {**MEMBERS, "cat/copy.png": MEMBERS["cat/001.png"]})
    by_name = {record.name: record for record in open_packed(out).records}
    assert by_name["cat/copy.png"].sha256 == by_name["cat/001.png"].sha256
    assert by_name["cat/copy.png"].phash == by_name["cat/001.png"].phash
    assert len({record.sha256 for record in by_name.values()}) == 10


def test_a_class_with_no_readable_picture_is_an_error(tmp_path):
    with pytest.raises(DarkroomError, match=r"set.zip: no image of class 'owl' can be read \(1 tried"):
        pack(tmp_path, {**MEMBERS, "owl/1.png": b"x"})
