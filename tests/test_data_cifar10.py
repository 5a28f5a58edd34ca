import hashlib
import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from darkroom import fetching, images
from darkroom.data.archives import origin
from darkroom.data.pack import cifar, contents, packing
from darkroom.data.settings import CifarSource, PackSettings, SplitSettings
from darkroom.data.sources import cifar10
from darkroom.data.split import duplicates, splitting
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import open_packed
from tests import cifar_archive
from tests.web import Web, serve

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 20, 32, 32, 3), dtype=np.uint8)
LABELS = [row % 10 for row in range(20)]
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
BATCHES = {name: cifar_archive.batch(pixels, LABELS) for name, pixels in zip(NAMES, PIXELS, strict=True)}


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    cifar_archive.write(folder / cifar10.NAME, BATCHES)
    origin.write_origin(folder, cifar10.ORIGIN)
    return folder


def test_every_picture_has_its_official_class_split_and_number(raw):
    items = contents.open_contents(raw).items
    assert len(items) == 120
    assert [item.name for item in items] == sorted(item.name for item in items)
    assert {(item.label, item.split) for item in items} == {(c, s) for c in cifar.CLASSES for s in ("train", "test")}
    assert "test/airplane/00010.bmp" in {item.name for item in items}
    assert "train/cat/40003.bmp" in {item.name for item in items}


def test_packed_pixels_are_the_batches_pixels(raw, tmp_path):
    (tmp_path / "packed").mkdir()
    count, broken = packing.pack(raw, PackSettings(image_size=32), tmp_path / "packed")
    assert (count, broken) == (120, [])
    packed = open_packed(tmp_path / "packed")
    for record, image in zip(packed.records, packed.images, strict=True):
        number = int(record.name[-9:-4])
        batch = 5 if record.split == "test" else number // 10_000
        assert np.array_equal(image, PIXELS[batch][number % 10_000])
        assert record.label == cifar.CLASSES[number % 10]
    assert len({record.sha256 for record in packed.records}) == 120
    splits = splitting.divide(
        packed.records, duplicates.find(packed.records, packed.images, 0), SplitSettings(validation=0.1), 0
    ).splits
    assert [split for split, record in zip(splits, packed.records, strict=True) if record.split == "test"] == [
        "test"
    ] * 20
    assert splits.count("validation") == 10


def test_pictures_are_handed_on_as_plain_bmp_files(raw):
    opened = contents.open_contents(raw)
    name, data = next(opened.read({"train/cat/00003.bmp"}))
    expected = io.BytesIO()
    Image.fromarray(PIXELS[0][3]).save(expected, "BMP")
    assert (name, data) == ("train/cat/00003.bmp", expected.getvalue())
    assert images.decode(data, 32).width == 32


def test_an_array_in_fortran_order_is_read_as_well(tmp_path):
    rows = PIXELS[0].transpose(0, 3, 1, 2).reshape(20, -1)
    data = cifar_archive.dumps({b"labels": LABELS, b"data": np.asfortranarray(rows)})
    path = cifar_archive.write(tmp_path / cifar10.NAME, {**BATCHES, "data_batch_1": data})
    expected = dict(cifar.read(cifar_archive.write(tmp_path / f"c-{cifar10.NAME}", BATCHES), {"train/cat/00003.bmp"}))
    assert dict(cifar.read(path, {"train/cat/00003.bmp"})) == expected


class Evil:
    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


EVIL = [
    Evil(os.system, "touch evil"),
    Evil(eval, "open('evil', 'w')"),
    Evil(getattr, "a", "upper"),
    Evil(np.load, "evil"),
    Evil(np.fromfile, "evil"),
    Evil(bytearray, 10**12),
    Evil(np.ndarray, (10**6, 10**6)),
    np.array([Evil(os.system, "touch evil")], dtype=object),
    np.zeros((20, 3072), dtype=np.float32),
    np.zeros((20, 3071), dtype=np.uint8),
    [1, 2, 3],
    None,
]


@pytest.mark.parametrize("payload", EVIL)
@pytest.mark.parametrize("dumps", [cifar_archive.dumps, pickle.dumps], ids=["old", "new"])
def test_a_pickle_that_is_more_than_arrays_runs_nothing(tmp_path, monkeypatch, payload, dumps):
    monkeypatch.chdir(tmp_path)
    data = dumps({b"labels": LABELS, b"data": payload} if payload is not None else None)
    path = cifar_archive.write(tmp_path / cifar10.NAME, {**BATCHES, "data_batch_2": data})
    with pytest.raises(DarkroomError, match=r"data_batch_2 is not a CIFAR-10 batch \(.*\): download it again"):
        cifar.items(path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ({**BATCHES, "test_batch": cifar_archive.batch(PIXELS[0], [10] * 20)}, "test_batch is not a CIFAR-10 batch"),
        ({**BATCHES, "test_batch": BATCHES["test_batch"][:999]}, "test_batch is not a CIFAR-10 batch"),
        ({**BATCHES, "test_batch": b""}, "test_batch is not a CIFAR-10 batch"),
        ({name: BATCHES[name] for name in NAMES[:-1]}, "lacks data_batch_1 or test_batch"),
        ({}, "lacks data_batch_1 or test_batch"),
    ],
)  # fmt: skip
def test_an_archive_that_is_something_else_is_one_message(tmp_path, batches, message):
    with pytest.raises(DarkroomError, match=message):
        cifar.items(cifar_archive.write(tmp_path / cifar10.NAME, batches))


def test_an_archive_that_is_cut_short_and_a_huge_batch_are_one_message(tmp_path, monkeypatch):
    path = cifar_archive.write(tmp_path / cifar10.NAME, BATCHES)
    monkeypatch.setattr(cifar, "MAX_BYTES", 1000)
    with pytest.raises(DarkroomError, match=r"data_batch_4 has [\d,]+ bytes, too many"):
        cifar.items(path)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(DarkroomError, match="is damaged or truncated"):
        cifar.items(path)


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Return a server with an archive that passes for the official one, and no way to the public addresses."""
    path = cifar_archive.write(tmp_path / "served.tar.gz", BATCHES)
    monkeypatch.delenv(cifar10.MIRROR, raising=False)
    monkeypatch.setattr(fetching, "BACKOFF", 0.0)
    with path.open("rb") as file:
        monkeypatch.setattr(cifar10, "MD5", fetching.Checksum("md5", hashlib.file_digest(file, "md5").hexdigest()))
    with serve(Web({"/a": path.read_bytes(), "/b": path.read_bytes()})) as web:
        monkeypatch.setattr(cifar10, "ADDRESSES", (f"{web.address}/a", f"{web.address}/b"))
        yield web


def fetch(tmp_path, mirror=None):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    origin.write_origin(out, cifar10.fetch(CifarSource(mirror=mirror), tmp_path / "downloads", out))
    return files.read_json(out / "source.json")


def test_addresses_are_tried_in_order_and_continue_one_another(web, tmp_path):
    web.script = [("cut", 5000), 404]
    assert fetch(tmp_path)["form"] == "cifar10"
    assert web.seen == [("/a", ""), ("/a", "bytes=5000-"), ("/b", "bytes=5000-")]
    assert (tmp_path / "out" / cifar10.NAME).read_bytes() == web.files["/b"]


@pytest.mark.parametrize("by", ["params", "environment"])
def test_a_mirror_comes_first(web, tmp_path, monkeypatch, by):
    web.files["/mine"] = web.files["/a"]
    if by == "environment":
        monkeypatch.setenv(cifar10.MIRROR, f"{web.address}/mine")
    fetch(tmp_path, f"{web.address}/mine" if by == "params" else None)
    assert [path for path, _ in web.seen] == ["/mine"]


def test_a_mirror_that_fails_gives_way_to_the_public_addresses(web, tmp_path, capsys):
    fetch(tmp_path, f"{web.address}/none")
    assert [path for path, _ in web.seen] == ["/none", "/a"]
    assert "/none could not be fetched (404 Not Found); trying the next URL" in capsys.readouterr().err


def test_a_mirror_can_be_a_file(web, tmp_path, monkeypatch):
    monkeypatch.setenv(cifar10.MIRROR, str(tmp_path / "served.tar.gz"))
    fetch(tmp_path)
    assert web.seen == []
    assert (tmp_path / "out" / cifar10.NAME).read_bytes() == web.files["/a"]
    (tmp_path / "short.tar.gz").write_bytes(b"x")
    with pytest.raises(
        DarkroomError, match=r"short\.tar\.gz does not have MD5 \w+: it is truncated, or not the official"
    ):
        fetch(tmp_path, str(tmp_path / "short.tar.gz"))
    with pytest.raises(
        DarkroomError, match=r"none\.tar\.gz does not exist: set source\.mirror or DARKROOM_CIFAR10_MIRROR"
    ):
        fetch(tmp_path, str(tmp_path / "none.tar.gz"))


def test_no_address_at_all_says_what_to_do(web, tmp_path):
    web.files.clear()
    with pytest.raises(DarkroomError) as error:
        fetch(tmp_path)
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines[:2]] == list(cifar10.ADDRESSES)
    assert lines[2].startswith("check the network, or set source.mirror or DARKROOM_CIFAR10_MIRROR to a URL or path")


def test_the_public_addresses_are_checked_against_the_published_checksum():
    assert fetching.Checksum("md5", "c58f30108f718f92721af3b95e74349a") == cifar10.MD5
    assert all(url.startswith("https://") and url.endswith(f"/{cifar10.NAME}") for url in cifar10.ADDRESSES)
    assert any("www.cs.toronto.edu/~kriz/" in url for url in cifar10.ADDRESSES)
