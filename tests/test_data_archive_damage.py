"""Archives that are damaged, or made to do harm: nothing is lost without a word, and nothing grows without a limit."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from darkroom.data.archives import archive, unpacking
from darkroom.foundations.errors import DarkroomError
from tests.pictures import class_folders, write_tar, write_zip

IMAGES = class_folders({"cats": 6, "dogs": 6})
TARS = [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")]
BLOCK = tarfile.BLOCKSIZE


def write(path):
    """Write `IMAGES` as an archive of the kind that the name of `path` tells; return its bytes."""
    mode = dict(TARS).get("".join(path.suffixes), "")
    (write_tar(path, IMAGES, mode) if mode else write_zip(path, IMAGES)).chmod(0o644)
    return path.read_bytes()


def lost(path):
    """Return what is wrong with the archive: the message, or the images that came otherwise without one."""
    try:
        found = dict(archive.read(path, archive.names(path)))
    except DarkroomError as error:
        return f"message: {error}"
    silent = {name: data for name, data in found.items() if isinstance(data, bytes)}
    changed = [name for name, data in silent.items() if IMAGES.get(name) != data]
    return changed if len(found) == len(IMAGES) else "lost"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_anywhere_never_loses_an_image_without_a_word(tmp_path, suffix, damage):
    path = tmp_path / f"set{suffix}"
    whole = write(path)
    generator = random.Random(suffix + damage)
    for _ in range(60):
        place = generator.randrange(len(whole))
        if damage == "flip":
            data = bytearray(whole)
            data[place] ^= 1 << generator.randrange(8)
            path.write_bytes(data)
        else:
            path.write_bytes(whole[: place - place % BLOCK] if suffix == ".tar" else whole[:place])
        found = lost(path)
        assert found != "lost"
        # Nothing in a tar guards the bytes of its files: one image may be another, and the decoder's turn comes.
        assert not found or found[:7] == "message" or (suffix == ".tar" and damage == "flip" and len(found) == 1)


def _damage_header(data):
    place = data.index(b"cats/003.png")
    return data[:place] + b"b" + data[place + 1 :]


def _cut_at_header(data):
    return data[: data.index(b"cats/003.png")]


def _cut_in_header(data):
    return data[: data.index(b"cats/003.png") + 100]


def _cut_in_data(data):
    return data[: data.index(b"cats/003.png") + BLOCK + 5]


def _blank_header(data):
    place = data.index(b"cats/003.png")
    return data[:place] + bytes(BLOCK) + data[place + BLOCK :]


def _join(data):
    return data + data


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_damage_header, "a header is damaged"),
        (_cut_at_header, "the end is missing"),
        (_blank_header, "there is data after its end"),
        (_join, "there is data after its end"),
        (_cut_in_header, "the end is missing"),
        (_cut_in_data, "unexpected end of data"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_is_whole_or_refused(tmp_path, damage, reason, compress):
    whole = write(tmp_path / "set.tar")
    (tmp_path / "set.tar").write_bytes(compress(damage(whole)))
    with pytest.raises(
        DarkroomError, match=rf"set.tar is damaged or truncated \(({reason})\): download or create it again"
    ):
        archive.names(tmp_path / "set.tar")


def test_the_checksum_of_gzip_counts_and_so_do_its_other_parts(tmp_path):
    path = tmp_path / "set.tar.gz"
    whole = write(path)
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(DarkroomError, match=r"set.tar.gz is damaged or truncated \(CRC check failed"):
        archive.names(path)
    tar = gzip.decompress(whole)
    path.write_bytes(gzip.compress(tar[:5000]) + gzip.compress(tar[5000:]))  # as parallel compressors write
    assert archive.names(path) == list(IMAGES)


@pytest.mark.parametrize("damage", [bytes(BLOCK), None, b"9", b"x"])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_long_name_that_is_damaged_loses_no_image(tmp_path, kind, damage):
    path, name = tmp_path / "set.tar", f"cats/{'x' * 300}.png"  # where a header has its type, this has the letter x
    with tarfile.open(path, "w", format=kind) as tar:
        tar.addfile(tarfile.TarInfo(name))
        tar.addfile(tarfile.TarInfo("cats/2.png"))
    data = path.read_bytes()
    if damage and (len(damage) == BLOCK or kind == tarfile.PAX_FORMAT):
        path.write_bytes(data[:BLOCK] + damage + data[BLOCK + len(damage) :])
        with pytest.raises(DarkroomError, match=r"set.tar is damaged or truncated \(a header"):
            archive.names(path)
    else:
        assert archive.names(path) == [name, "cats/2.png"]


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "old"])
def test_sparse_files_in_a_tar_are_refused_by_name(tmp_path, version):
    data = b"\x89PNG\r\n" + bytes(506)
    info = tarfile.TarInfo("cats/1.png")
    info.size = len(data)
    headers = {
        "0.0": {"GNU.sparse.size": "512", "GNU.sparse.numblocks": "1"},
        "0.1": {"GNU.sparse.map": "0,512", "GNU.sparse.size": "512"},
        "1.0": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "512"},
    }
    info.pax_headers = headers.get(version, {})
    if version == "old":
        info.type = tarfile.GNUTYPE_SPARSE
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
    with pytest.raises(
        DarkroomError, match=r"set.tar contains a sparse file: create the archive again without the option"
    ):
        archive.names(tmp_path / "set.tar")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, b"M", b"Z"])
def test_a_tar_holds_files_and_folders_alone(tmp_path, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        info = tarfile.TarInfo("cats/1.png")
        info.type = kind
        tar.addfile(info)
    with pytest.raises(DarkroomError, match=r"'cats/1.png', which is neither a file nor a folder: remove it"):
        archive.names(tmp_path / "set.tar")


def _header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


END = bytes(2 * BLOCK)
ZEROS = bytes(1_000_000)
SMALL = _header("a/1.png", 0)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_header("notes.bin", 10**6) + ZEROS + END, "unpacks to more than 1 MB, over 200 times its size"),
        (SMALL + END + ZEROS, "unpacks to more than"),
        (b"".join(_header(f"a/{n}.png", 0) for n in range(500)) + END, "unpacks to more than"),
        (_header("x" * 50, 10**6, tarfile.GNUTYPE_LONGNAME) + ZEROS + END, r"a header of 1,000,\d+ bytes"),
        (_header("x", 10**6, tarfile.XHDTYPE) + ZEROS + END, r"a header of 1,000,\d+ bytes"),
        (_header("x", 40, tarfile.XHDTYPE) + b"9 a=bcde\n0 a=bc\n".ljust(BLOCK, b"\0"), "a header is damaged"),
        (SMALL + _header("a/2.png", 10**11), "unexpected end of data"),
        (SMALL + _header("a/2.png", -512) + END, "negative size"),
        (SMALL + _header("a/2.png", -5 * 10**6) + END, "negative size"),
    ],
)
def test_a_tar_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, compress, content, message):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 900_000)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 1)
    path = tmp_path / "set.tar"
    path.write_bytes(compress(content))
    with pytest.raises(DarkroomError, match=message.replace("200", "1")):
        archive.names(path)


def test_honest_archives_are_far_below_the_limit(tmp_path):
    for suffix, _ in TARS:
        path = tmp_path / f"set{suffix}"
        write(path)
        assert sum(max(len(data), 1) + 4608 for data in IMAGES.values()) < unpacking.ALWAYS_ALLOWED
        assert len(archive.names(path)) == len(IMAGES)


def lie(path, name, declared):
    """Make the directory of a zip and the member's own header declare another size."""
    data = bytearray(path.read_bytes())
    for magic, offset, size in ((b"PK\x01\x02", 46, 24), (b"PK\x03\x04", 30, 22)):
        place = data.index(name.encode(), data.index(magic)) - offset
        data[place + size : place + size + 4] = struct.pack("<I", declared)
    path.write_bytes(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_is_read_no_further_than_it_declares(tmp_path, method):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("a/1.png", bytes(50_000_000))
    lie(path, "a/1.png", 1000)
    tracemalloc.start()
    found = dict(archive.read(path, archive.names(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["a/1.png"].startswith("damaged in the archive")
    assert peak < 12_000_000  # LZMA keeps a dictionary of 8 MB


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, method):
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 900_000)
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as target:
        for number in range(5):
            target.writestr(f"a/{number}.png", bytes(10**6))
    monkeypatch.setattr(unpacking, "MAX_RATIO", 10)
    with pytest.raises(DarkroomError, match=r"set.zip unpacks to more than 1 MB, over 10 times its size: if you"):
        archive.names(path)


def test_what_is_unpacked_in_vain_counts_as_well(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "set.zip", {f"a/{number}.png": bytes(10**5) for number in range(20)})
    monkeypatch.setattr(unpacking, "MAX_RATIO", 1)
    monkeypatch.setattr(unpacking, "ALWAYS_ALLOWED", 2 * 10**6 + 5)
    monkeypatch.setattr(zlib, "crc32", lambda data: 1)
    with pytest.raises(DarkroomError, match=r"set.zip unpacks to more than 2 MB"):
        dict(archive.read(path, archive.names(path)))


def test_a_directory_that_hides_a_member_is_damaged(tmp_path):
    name = "cats/" + "x" * 9 + ".png"  # with its fixed part the entry has 64 bytes, which one bit can skip
    path = write_zip(tmp_path / "set.zip", {name.replace("x", letter): b"1" for letter in "abc"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 32] ^= 64  # the length of the first one's comment
    path.write_bytes(data)
    with pytest.raises(DarkroomError, match=r"set.zip is damaged or truncated \(2 of 3 members are in its directory"):
        archive.names(path)


def test_an_unknown_compression_is_named(tmp_path):
    path = write_zip(tmp_path / "set.zip", IMAGES)
    for method, words in ((9, "Deflate64"), (77, "method 77")):
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 10] = method
        path.write_bytes(data)
        with pytest.raises(DarkroomError, match=rf"'cats/000.png' uses unsupported compression \({words}\): create"):
            archive.names(path)


def raw_zip(path, names):
    """Write a zip with names as these bytes, without the flag for UTF-8."""
    placeholders = {f"{number}".rjust(len(name), "0"): name for number, name in enumerate(names, 1)}
    write_zip(path, dict.fromkeys(placeholders, b"x"))
    data = path.read_bytes()
    for placeholder, name in placeholders.items():
        data = data.replace(placeholder.encode(), name)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("stored", "name", "is_guessed"),
    [
        (b"cats\\1.png", "cats/1.png", False),
        (b"photos/cats\\1.png", "photos/cats/1.png", False),
        (b"cats\\young\\", "cats/young/", False),
        ("Käfer/1.png".encode(), "Käfer/1.png", False),  # as macOS writes it
        ("Käfer\\1.png".encode("cp437"), "Käfer/1.png", True),
        ("Käfer/1.png".encode("cp1252"), "KΣfer/1.png", True),
        ("cats/表.png".encode("cp932"), "cats/ò\\.png", True),  # the second half of this letter is a backslash
    ],
)
def test_names_from_other_systems_are_read_or_reported(tmp_path, stored, name, is_guessed):
    path = raw_zip(tmp_path / "set.zip", [stored, b"dogs/1.png"])
    listing = archive.list_members(path)
    assert listing.names == [name, "dogs/1.png"]
    warning = f"set.zip does not define the encoding of 1 name, such as {name!r}: if that looks wrong, create"
    assert [words.startswith(warning) for words in listing.warnings] == [True] * is_guessed
    assert not name.endswith("g") or dict(archive.read(path, {name}))[name] == b"x"


def test_the_archive_of_a_folder_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "set.zip", IMAGES)

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(DarkroomError, match=r"set.zip cannot be read \(Permission denied\): check its permissions"):
        archive.names(path)


def test_a_name_that_is_not_what_its_flag_says_is_damage(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"Käfer/1.png": b"x"})
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xfe"))
    with pytest.raises(DarkroomError, match=r"set.zip is damaged or truncated \(.*can't decode"):
        archive.names(path)


def test_a_zip_without_compression_keeps_its_checksum(tmp_path):
    path = write_zip(tmp_path / "set.zip", IMAGES)
    assert dict(archive.read(path, IMAGES)) == IMAGES
    assert zlib.crc32(IMAGES["cats/000.png"]) == zipfile.ZipFile(path).getinfo("cats/000.png").CRC
